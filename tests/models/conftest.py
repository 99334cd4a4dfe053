"""Small CLIPs of each architecture, with random weights."""

from __future__ import annotations

import pytest
import torch

from itkm.models.clip import Clip, from_open_clip
from toy import TOWER_SIZE, make_clip, make_open_clip


@pytest.fixture(params=["demo", "vit", "rn"])
def clip(request: pytest.FixtureRequest) -> Clip:
    """A CLIP of each kind, in evaluation mode."""
    if request.param == "demo":
        return make_clip()[0]
    return from_open_clip(make_open_clip(request.param), scenario_tokens="all").eval()


@pytest.fixture
def images(request: pytest.FixtureRequest) -> torch.Tensor:
    """Six RGB images in [0, 1]."""
    square = "[rn" in request.node.name
    return torch.rand(6, 3, *((64, 64) if square else TOWER_SIZE), generator=torch.Generator().manual_seed(1))
