"""The `history.csv` that a training stage leaves: a row per epoch, or per epoch and group."""

from __future__ import annotations

import csv
from pathlib import Path

Row = dict[str, str | float]

_TEXT = ("scenario", "group")


def read_history(path: Path) -> list[Row]:
    """The rows of a history; every column but `scenario` and `group` is a number, NaN where nothing was measured."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [
            {name: value if name in _TEXT else float(value or "nan") for name, value in row.items()}
            for row in csv.DictReader(stream)
        ]
