"""Two scenarios of noise images, and an encoder for them."""

from __future__ import annotations

import numpy as np
import pytest

from itkm.data.training import TrainingImages
from itkm.models.encoder import Encoder
from itkm.training.groups import Group, split_groups
from toy import make_clip


def make_images(scenario: str, *, count: int, seed: int) -> TrainingImages:
    rng = np.random.default_rng(seed)
    numbers = np.arange(count)
    return TrainingImages(
        paths=np.array([f"{scenario}/{number}.png" for number in numbers]),
        scenario=scenario,
        group=rng.permutation(numbers % 2),
        camera=numbers // 2 % 2,
        images=rng.integers(0, 256, (count, 3, 32, 16), dtype=np.uint8),
        group_names=("first", "second"),
        camera_names=("c1", "c2"),
    )


@pytest.fixture
def scenarios() -> list[TrainingImages]:
    return [make_images("vi", count=48, seed=0), make_images("own", count=40, seed=1)]


@pytest.fixture
def groups(scenarios: list[TrainingImages]) -> list[Group]:
    return split_groups(scenarios)


@pytest.fixture
def encoder() -> Encoder:
    clip, _ = make_clip()
    return Encoder(clip.stem, clip.trunk, scenarios=["vi", "own"], mean=clip.mean, std=clip.std).eval()
