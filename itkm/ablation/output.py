"""What an ablation leaves: a page, three tables, and a summary."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from itkm.ablation.findings import Failure, Finding
from itkm.ablation.page import build_page
from itkm.ablation.results import difference_rows, epoch_table, result_rows
from itkm.ablation.summary import build_summary
from itkm.config import Settings
from itkm.files import write_bytes
from itkm.tracking import versions

logger = logging.getLogger(__name__)


def write_results(
    outcomes: Sequence[Finding | Failure], folder: Path, *, split: str, seeds: Sequence[int], settings: Settings
) -> None:
    """Writes `ablation.html`, `results.md`, `results.csv`, `differences.csv` and `epochs.csv`."""
    tables = {"results": result_rows, "differences": difference_rows, "epochs": epoch_table}
    for name, make in tables.items():
        _write(folder / f"{name}.csv", make(outcomes))
    page = build_page(outcomes, split=split, seeds=seeds, versions=versions(settings, Path()))
    write_bytes(folder / "ablation.html", page.encode())
    write_bytes(folder / "results.md", build_summary(outcomes, split=split, seeds=seeds).encode())
    logger.info("ablation: %s, opens in any browser without a network", folder / "ablation.html")


def _write(path: Path, table: pd.DataFrame) -> None:
    write_bytes(path, table.to_csv(index=False, lineterminator="\n").encode())
