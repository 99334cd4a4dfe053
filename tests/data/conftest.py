"""Tiny data sets, made on the spot."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from itkm.data.shards import write_scenario
from trees import market1501

MakeImage = Callable[..., bytes]
MakeRow = Callable[..., dict[str, Any]]


def encode(seed: int = 0, *, size: tuple[int, int] = (16, 32), form: str = "PNG", grey: bool = False) -> bytes:
    """An image file of random pixels; the same arguments give the same bytes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    if grey:
        pixels = np.repeat(pixels[..., :1], 3, axis=2)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


def row(**known: object) -> dict[str, Any]:
    """A valid row without `path` and `shard`."""
    return {
        "scenario": "vi",
        "group": "visible",
        "camera": "c1",
        "split": "train",
        "person": -1,
        "clothes": -1,
        "resolution": "16x32",
        "timestamp": "",
        "caption": "",
        "source": "c1/0001.png",
    } | known


def scenario_images() -> list[tuple[dict[str, Any], bytes]]:
    """A sound scenario `vi`: 64 training images a group, and persons 101 to 104 to search for."""
    images: list[tuple[dict[str, Any], bytes]] = []

    def add(group: str, split: str, person: int) -> None:
        number = len(images)
        camera = f"{group[0]}{number % 2}"
        known = {"source": f"{camera}/{number:04d}.png", "group": group, "camera": camera}
        images.append((row(split=split, person=person, **known), encode(number, grey=group == "infrared")))

    for number in range(128):
        add(("visible", "infrared")[number % 2], "train", 1 + number // 16)
    for person in range(101, 105):
        for group, split in (("infrared", "query"), ("visible", "gallery")) * 2:
            add(group, split, person)
    return images


@pytest.fixture
def make_image() -> MakeImage:
    """The function `encode`."""
    return encode


@pytest.fixture
def make_row() -> MakeRow:
    """The function `row`."""
    return row


@pytest.fixture
def sound(tmp_path: Path) -> tuple[Path, pd.DataFrame]:
    """The folder and the manifest of `scenario_images`."""
    folder = tmp_path / "vi"
    return folder, write_scenario(scenario_images(), folder)


@pytest.fixture
def market(tmp_path: Path) -> Path:
    """A tree of Market-1501's shape with a few images."""
    return market1501(tmp_path)
