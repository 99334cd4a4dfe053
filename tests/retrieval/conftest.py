"""A model that was never trained, whose parts all differ, and images that it can embed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from itkm.data.groups import GROUP_ORDER
from itkm.data.manifest import read_manifest
from itkm.data.shards import ShardReader
from itkm.models.store import build_encoder, make_card, save_model
from itkm.retrieval.model import Model, open_model
from itkm.stages.layout import Layout
from toy import SCENARIOS, make_project, make_settings


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Data of three scenarios and `artifacts/model`; read it only."""
    layout = make_project(tmp_path_factory.mktemp("retrieval"))
    settings = make_settings(layout.root).model
    torch.manual_seed(1)
    encoder, clip = build_encoder(settings, SCENARIOS)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    save_model(encoder, clip, make_card(settings, GROUP_ORDER), layout.model)
    return layout


@pytest.fixture(scope="session")
def model(project: Layout) -> Model:
    return open_model(project.model)


@pytest.fixture
def photos(project: Layout, tmp_path: Path) -> Path:
    """The infrared images of scenario vi as plain files `photos/<number>.png`."""
    folder = tmp_path / "photos"
    folder.mkdir()
    frame = read_manifest(project.data("vi"))
    reader = ShardReader(project.data("vi"))
    infrared = frame[frame["group"] == "infrared"]
    for number, (shard, path) in enumerate(zip(infrared["shard"], infrared["path"], strict=True)):
        (folder / f"{number:03d}.png").write_bytes(reader.read(shard, path))
    return folder
