"""What all tests share: quiet libraries on one thread, and tiny data sets."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", DO_NOT_TRACK="1", MLFLOW_DISABLE_TELEMETRY="true", HF_HUB_OFFLINE="1")

import pandas as pd
import pytest
import torch

from itkm.data.shards import write_scenario
from itkm.models.torchvision_schemas import ensure_torchvision
from tiny import scenario_rows

torch.set_num_threads(1)
ensure_torchvision()  # before anything imports open_clip or timm


WriteTiny = Callable[..., pd.DataFrame]


@pytest.fixture
def write_tiny() -> WriteTiny:
    """Writes a tiny scenario: `write_tiny(folder, persons=..., images=..., groups=...)`; the name is the folder's."""

    def write(folder: Path, **options: object) -> pd.DataFrame:
        return write_scenario(scenario_rows(folder.name, **options), folder)  # type: ignore[arg-type]

    return write


@pytest.fixture
def write_crops(tmp_path: Path) -> Path:
    """A folder of crops with the cameras c1, c2 and c3 as sub-folders."""
    folder = tmp_path / "crops"
    for row, content in scenario_rows("any"):
        file = folder / str(row["source"])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Puts back where messages go: a test that calls the command sends them to a stderr that ends with the test."""
    root, ours = logging.getLogger(), logging.getLogger("itkm")
    handlers, level, own = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    ours.setLevel(own)
