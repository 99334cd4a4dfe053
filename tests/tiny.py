"""Tiny data sets, made on the spot."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image


def make_crop(person: int, number: int, *, size: tuple[int, int] = (24, 48)) -> bytes:
    """A JPEG of a person: three bands in colours of their own, and noise that differs with the image's number."""
    width, height = size
    colours = np.random.default_rng(person).integers(40, 216, size=(3, 3))
    bands = np.repeat(colours, height // 3, axis=0)[:, None, :]
    noise = np.random.default_rng((person, number)).normal(0, 6, size=(height, width, 3))
    stream = io.BytesIO()
    Image.fromarray(np.clip(bands + noise, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def scenario_rows(
    scenario: str, *, persons: int = 4, images: int = 4, groups: Mapping[str, tuple[str, ...]] | None = None
) -> Iterator[tuple[dict[str, object], bytes]]:
    """Rows and files of a scenario: `images` of each person in every camera of every group, all to train on."""
    number = 0
    for group, cameras in (groups or {"day": ("c1", "c2"), "night": ("c3",)}).items():
        for camera in cameras:
            for person in range(1, persons + 1):
                for _ in range(images):
                    number += 1
                    row = {"source": f"{camera}/{number:04d}.jpg", "scenario": scenario, "group": group}
                    row |= {"camera": camera, "split": "train", "person": person, "clothes": -1, "resolution": "24x48"}
                    row |= {"timestamp": "", "caption": ""}
                    yield row, make_crop(person, number)
