"""What is kept of a finished run: its scores, the precision of every query, and labels and matches of every epoch."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from itkm.ablation.epochs import epoch_rows
from itkm.ablation.variants import Run
from itkm.config import Settings
from itkm.evaluation.features import scored_part
from itkm.evaluation.protocols import Protocol, protocol_named
from itkm.evaluation.ranking import score
from itkm.files import write_json
from itkm.stages.layout import Layout

SCORED = ("zero_shot", "homogeneous", "heterogeneous")


@dataclass(frozen=True, eq=False)
class Finding:
    """A finished run.

    Attributes:
        run: what was run.
        metrics: the content of its `reports/metrics.json`.
        queries: a row per query: `scenario`, `path`, `person`, and its average precision in a column for each of
            `SCORED`, NaN where it was skipped.
        epochs: rows as `epoch_rows` gives them.
        computed: stages that this run computed; DVC's cache had the others.
        seconds: that it took.
    """

    run: Run
    metrics: dict[str, Any]
    queries: pd.DataFrame
    epochs: pd.DataFrame
    computed: int
    seconds: float


@dataclass(frozen=True)
class Failure:
    """A run that gave no result, and why."""

    run: Run
    reason: str


def collect(run: Run, layout: Layout, *, computed: int, seconds: float) -> Finding:
    """Reads what a run left in its project, after so many seconds and computed stages."""
    settings = Settings.model_validate(run.params)
    metrics = json.loads(layout.metrics.read_text(encoding="utf-8"))
    scored = [name for name in settings.scenarios if metrics["scenarios"][name]["heterogeneous"] is not None]
    queries = [
        query_precision(layout, name, protocol_named(settings.evaluate.protocol_of(name))).assign(scenario=name)
        for name in scored
    ]
    epochs = [epoch_rows(layout, name) for name in settings.scenarios]
    asked = pd.concat(queries) if queries else pd.DataFrame()
    return Finding(run, metrics, asked, pd.concat(epochs), computed, seconds)


def query_precision(layout: Layout, scenario: str, protocol: Protocol) -> pd.DataFrame:
    """The average precision of every query by the three models, from the features that the evaluation left."""
    with np.load(layout.scored(scenario), allow_pickle=False) as stored:
        arrays = dict(stored)
    columns = {"path": arrays["query_path"], "person": arrays["query_person"]}
    for model in SCORED:
        query, gallery = (scored_part(arrays, model, part) for part in ("query", "gallery"))
        columns[model] = score(query, gallery, protocol).average_precision
    return pd.DataFrame(columns)


def save(finding: Finding, folder: Path) -> None:
    """Writes a finding as a folder that is either whole or absent."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        write_json(temporary / "metrics.json", finding.metrics)
        write_json(temporary / "effort.json", {"computed": finding.computed, "seconds": finding.seconds})
        finding.queries.to_parquet(temporary / "queries.parquet", index=False)
        finding.epochs.to_parquet(temporary / "epochs.parquet", index=False)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load(run: Run, folder: Path) -> Finding | None:
    """The finding that `save` wrote; None where there is none."""
    if not folder.is_dir():
        return None
    metrics, effort = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("metrics", "effort")
    )
    queries, epochs = (pd.read_parquet(folder / f"{name}.parquet") for name in ("queries", "epochs"))
    return Finding(run, metrics, queries, epochs, **effort)
