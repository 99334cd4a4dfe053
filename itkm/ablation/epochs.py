"""Labels and matches of every epoch, judged after all training by the hidden identities; and health, which needs none.

The training stages leave their labels and matches without any identity; here, as in the evaluation, the two meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from itkm.data.manifest import COLUMNS, read_table
from itkm.errors import InputError
from itkm.evaluation.quality import Group, cluster_match_quality, cluster_quality
from itkm.report.history import read_history
from itkm.stages.layout import Layout

HEALTH = ("stability", "silhouette", "cycle_consistency", "agreement")
"""Label-free columns of a history, where the stage measured them."""

Row = dict[str, Any]


def epoch_rows(layout: Layout, scenario: str) -> pd.DataFrame:
    """What the labels of one scenario were worth in every epoch of Stages I and III.

    Returns:
        a row per `stage`, `epoch` and `group` of the `scenario`: `clusters`, `outliers`, and where identities are known
        `purity`, `nmi`, `ari`; in Stage III also `match_precision` and `match_recall` of CHM; `HEALTH` of the epochs
        that trained. One epoch more than was trained holds the labels that came last; where a stage left no others, it
        is the only one.

    Raises:
        InputError: labels and hidden identities are of different images.
    """
    table = read_table(layout.evaluation_table(scenario), COLUMNS)
    training = table[table["split"] == "train"]
    early, late = (_arrays(folder / f"{scenario}.npz") for folder in (layout.homogeneous, layout.heterogeneous))
    if late["path"].tolist() != training["path"].tolist():
        raise InputError(f"{scenario}: the labels are of other images than the evaluation table. Run `dvc repro`.")
    early["labels"] = _arrays(layout.clusters(scenario))["labels"]
    persons, group = training["person"].to_numpy(dtype=np.int64), late["group"]
    names = [str(training["group"].iloc[np.flatnonzero(group == number)[0]]) for number in (0, 1)]
    rows: list[Row] = []
    for stage, arrays in (("homogeneous", early), ("heterogeneous", late)):
        health = _health(getattr(layout, stage) / "history.csv", scenario)
        history = _with_last(arrays, "labels", "epoch_labels")
        first = 2 + max((epoch for epoch, _ in health), default=0) - len(history)
        for place, labels in enumerate(history):
            halves = [Group(labels[group == number], persons[group == number]) for number in (0, 1)]
            matches = _matches(halves, arrays, place) if stage == "heterogeneous" else {}
            for name, half in zip(names, halves, strict=True):
                head = {"scenario": scenario, "stage": stage, "epoch": first + place, "group": name}
                rows.append({**head, **_quality(half), **matches, **health.get((first + place, name), {})})
    return pd.DataFrame(rows)


def _quality(half: Group) -> Row:
    """Number of clusters and share of outliers; purity, NMI and ARI where identities are known."""
    return cluster_quality(half.labels, half.persons if (half.persons >= 0).any() else None)


def _matches(halves: list[Group], arrays: Mapping[str, NDArray[Any]], place: int) -> Row:
    """Precision and recall of the matched clusters of an epoch."""
    partners = [
        _with_last(arrays, f"partner_{number}", f"epoch_partner_{number}")[place][: half.labels.max(initial=-1) + 1]
        for number, half in enumerate(halves)
    ]
    quality = cluster_match_quality(*halves, partners_a=partners[0], partners_b=partners[1])
    return {"match_precision": quality["precision"], "match_recall": quality["recall"]}


def _with_last(arrays: Mapping[str, NDArray[Any]], last: str, earlier: str) -> list[NDArray[np.int64]]:
    """The values of each epoch, where the stage left them, and the last ones."""
    return [np.asarray(own, dtype=np.int64) for own in (*arrays.get(earlier, ()), arrays[last])]


def _health(history: Path, scenario: str) -> dict[tuple[int, str], Row]:
    """The measured columns of `HEALTH` by epoch and group."""
    return {
        (int(row["epoch"]), str(row["group"])): {name: row[name] for name in HEALTH if name in row}
        for row in read_history(history)
        if row["scenario"] == scenario
    }


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The content of a .npz; empty where there is none."""
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)
