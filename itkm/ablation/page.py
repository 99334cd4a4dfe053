"""The ablation on one offline page, in the manner of the report."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from itkm.ablation.bootstrap import LEVEL, RESAMPLES
from itkm.ablation.findings import Failure, Finding
from itkm.ablation.results import COMPARED, FINAL, LEAST_RUNS, difference_rows, epoch_table, health_rows
from itkm.ablation.variants import FULL, VARIANTS
from itkm.report import curves
from itkm.report.curves import Chart, line_chart, nice_marks
from itkm.report.table import AVERAGE, percent, points

QUALITY = {
    "purity": "Purity of the clusters, %",
    "ari": "ARI of the clusters, %",
    "match_precision": "Precision of matched clusters (CHM), %",
    "match_recall": "Recall of matched clusters (CHM), %",
}
STAGES = {"homogeneous": "Stage I", "heterogeneous": "Stage III"}


@dataclass(frozen=True)
class Mark:
    """One variant's difference in the chart: places in percent of the width, and the figures in words."""

    variant: str
    low: float
    middle: float
    high: float
    summary: str


@dataclass(frozen=True)
class Forest:
    """The differences of all variants on one scenario; `zero` and `ticks` (place, text) in percent of the width."""

    scenario: str
    marks: tuple[Mark, ...]
    zero: float
    ticks: tuple[tuple[float, str], ...]


def build_page(
    outcomes: Sequence[Finding | Failure], *, split: str, seeds: Sequence[int], versions: Mapping[str, str]
) -> str:
    """The page as HTML. The same outcomes give the same page.

    Args:
        outcomes: of all runs.
        split: the identities that were scored.
        seeds: of the ablation.
        versions: names and versions of what made it.
    """
    differences = difference_rows(outcomes)
    findings = [own for own in outcomes if isinstance(own, Finding)]
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent, Path(curves.__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, points=_points, plain=_plain)
    return environment.get_template("ablation.html.j2").render(
        variants=VARIANTS,
        full=FULL,
        tables={stage: _by_scenario(differences, stage) for stage in reversed(COMPARED)},
        stages=STAGES,
        forests=forests(differences),
        charts=quality_charts(epoch_table(outcomes)),
        matches=final_matches(findings),
        health=health_rows(outcomes),
        failures=[own for own in outcomes if isinstance(own, Failure)],
        rendered=bool(findings) and all(own.metrics["rendered"] for own in findings),
        level=round(100 * LEVEL),
        resamples=RESAMPLES,
        least=LEAST_RUNS,
        split=split,
        seeds=seeds,
        versions=versions,
    )


def _by_scenario(differences: pd.DataFrame, stage: str) -> dict[str, list[dict[Hashable, Any]]]:
    """The rows of one stage's table by scenario, the average first."""
    if differences.empty:
        return {}
    own = differences[differences["stage"] == stage]
    names = [AVERAGE, *(name for name in dict.fromkeys(own["scenario"]) if name != AVERAGE)]
    return {name: own[own["scenario"] == name].to_dict("records") for name in names}


def forests(differences: pd.DataFrame) -> list[Forest]:
    """The intervals of the final model's differences as places, on one scale for all scenarios, in points of mAP."""
    if differences.empty:
        return []
    final = differences[(differences["stage"] == FINAL) & differences["difference"].notna()]
    if final.empty:
        return []
    low, high = 100 * min(0.0, final["low"].min()), 100 * max(0.0, final["high"].max())
    ticks = nice_marks(low, high)

    def place(value: float) -> float:
        return round(100 * (value - ticks[0]) / (ticks[-1] - ticks[0]), 2)

    def mark(row: Mapping[Hashable, Any]) -> Mark:
        low, middle, high = (place(100 * row[name]) for name in ("low", "difference", "high"))
        summary = f"{points(row['difference'])} [{points(row['low'])}, {points(row['high'])}]"
        return Mark(row["variant"], low, middle, high, summary)

    shown = tuple((place(tick), f"{tick:+g}" if tick else "0") for tick in ticks)
    return [
        Forest(scenario, tuple(map(mark, rows)), place(0), shown)
        for scenario, rows in _by_scenario(final, FINAL).items()
    ]


def quality_charts(epochs: pd.DataFrame) -> dict[str, list[Chart]]:
    """For each scenario the quality of labels and matches over the epochs, a line per variant (mean of its runs)."""
    if epochs.empty:
        return {}
    charts: dict[str, list[Chart]] = {}
    for scenario, own in epochs.groupby("scenario", sort=False):
        charts[str(scenario)] = []
        for stage in COMPARED:
            for measure, title in QUALITY.items():
                part = own[own["stage"] == stage]
                if measure in part and part[measure].notna().any():
                    chart = line_chart(f"{STAGES[stage]}: {title}", _lines(part, measure), paired=False)
                    charts[str(scenario)].append(chart)
    return charts


def _lines(rows: pd.DataFrame, measure: str) -> dict[str, list[tuple[float, float]]]:
    """The points (epoch, percent) of every variant, the mean over seeds and groups."""
    means = 100 * rows.groupby(["variant", "epoch"])[measure].mean().dropna()
    return {
        name: [(float(epoch), float(value)) for epoch, value in means[name].items()]
        for name in VARIANTS
        if name in means.index.get_level_values("variant")
    }


def final_matches(findings: Sequence[Finding]) -> pd.DataFrame:
    """Mean precision and recall of the last matches, CHM and IHM, and of purity: a row per variant and scenario."""
    rows = []
    for own in findings:
        for scenario, found in own.metrics["scenarios"].items():
            matches = {
                f"{kind}_{name}": found["matches"][kind][name]
                for kind in ("chm", "ihm")
                for name in ("precision", "recall")
            }
            purities = [group.get("purity") for group in found["clusters"].values()]
            purity = np.nan if None in purities else float(np.mean(purities))
            rows.append({"scenario": scenario, "variant": own.run.variant, "purity": purity, **matches})
    if not rows:
        return pd.DataFrame()
    table = pd.DataFrame(rows).astype({name: float for name in rows[0] if name not in ("scenario", "variant")})
    means = table.groupby(["scenario", "variant"], sort=False).mean().reset_index()
    order = means["variant"].map(list(VARIANTS).index)
    return means.assign(order=order).sort_values(["scenario", "order"]).drop(columns="order")


def _percent(value: float) -> str:
    return percent(None if np.isnan(value) else value)


def _points(value: float) -> str:
    return points(None if np.isnan(value) else value)


def _plain(value: object) -> str:
    """A value as params.yaml spells it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
