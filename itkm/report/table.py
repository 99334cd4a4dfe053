"""The result table: the rows that the page shows, and the same rows as aligned text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MODELS: dict[str, str] = {
    "zero_shot": "zero-shot",
    "zero_shot_centred": "zero-shot, centred",
    "homogeneous": "Stage I",
    "heterogeneous": "Stage III",
}
"""What is scored, by its key in `reports/metrics.json`; `centred` = each group's mean feature subtracted."""

AVERAGE = "average"
HEADER = ("scenario", "protocol", "queries", "gallery", "model", "rank-1", "rank-5", "mAP", "mINP", "Δ mAP")
_TEXT_COLUMNS = (0, 1, 4)


@dataclass(frozen=True)
class ResultRow:
    """One model on one scenario, or its average over the scenarios. Fractions of 1; None where nothing was scored.

    Attributes:
        scenario: its name, or `AVERAGE`.
        model: a key of `MODELS`.
        protocol: name of the protocol; '' for the average.
        queries: how many were scored (not skipped); `gallery` how many images were ranked; None for the average.
        rank1, rank5, mAP, mINP: the scores.
        gain: mAP minus that of zero-shot; None for zero-shot itself.
    """

    scenario: str
    model: str
    protocol: str
    queries: int | None
    gallery: int | None
    rank1: float | None
    rank5: float | None
    mAP: float | None  # noqa: N815 - the field writes it so
    mINP: float | None  # noqa: N815
    gain: float | None


def result_rows(metrics: Mapping[str, Any]) -> list[ResultRow]:
    """Every model of every scenario, sorted by name as in the file, and the average last.

    Args:
        metrics: the content of `reports/metrics.json`.
    """
    scenarios = {**dict(sorted(metrics["scenarios"].items())), AVERAGE: metrics["average"]}
    return [
        _row(name, model, scores.get(model) or {}, scores.get("zero_shot") or {})
        for name, scores in scenarios.items()
        for model in MODELS
    ]


def result_table(metrics: Mapping[str, Any]) -> str:
    """The result as aligned text: what was scored and how, then a line per scenario and model.

    Args:
        metrics: the content of `reports/metrics.json`.
    """
    rows = result_rows(metrics)
    lines = [HEADER, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    header, *body = [_aligned(line, widths) for line in lines]
    gaps = ["\n" if row.model == "zero_shot" else "" for row in rows]
    return "\n".join([*describe(metrics), "", header, *map(str.__add__, gaps, body)]) + "\n"


def describe(metrics: Mapping[str, Any]) -> list[str]:
    """What the numbers are about, in sentences."""
    persons = "The persons are rendered: none of them exists. " if metrics.get("rendered") else ""
    identities = "unseen test identities" if metrics.get("split", "test") == "test" else "validation identities"
    return [
        f"{persons}Scores in %, on {identities}; Δ mAP in points against zero-shot.",
        "zero-shot: CLIP before training; centred: its features with each group's mean subtracted, a baseline.",
    ]


def percent(fraction: float | None) -> str:
    """A fraction of 1 in percent with one decimal, `-` for None."""
    return "-" if fraction is None else f"{100 * fraction:.1f}"


def points(difference: float | None) -> str:
    """A signed difference of fractions in percentage points, '' for None."""
    return "" if difference is None else f"{100 * difference:+.1f}"


def _row(scenario: str, model: str, scores: Mapping[str, Any], zero_shot: Mapping[str, Any]) -> ResultRow:
    before, after = zero_shot.get("mAP"), scores.get("mAP")
    return ResultRow(
        scenario=scenario,
        model=model,
        protocol=scores.get("protocol", ""),
        queries=scores["queries"] - scores["skipped"] if "queries" in scores else None,
        gallery=scores.get("gallery"),
        rank1=scores.get("rank1"),
        rank5=scores.get("rank5"),
        mAP=after,
        mINP=scores.get("mINP"),
        gain=None if model == "zero_shot" or before is None or after is None else after - before,
    )


def _cells(row: ResultRow) -> tuple[str, ...]:
    place = (row.scenario, row.protocol or "-", _count(row.queries), _count(row.gallery))
    scores = (percent(row.rank1), percent(row.rank5), percent(row.mAP), percent(row.mINP), points(row.gain))
    return (*(place if row.model == "zero_shot" else ("",) * len(place)), MODELS[row.model], *scores)


def _count(number: int | None) -> str:
    return "-" if number is None else str(number)


def _aligned(line: tuple[str, ...], widths: list[int]) -> str:
    cells = [
        cell.ljust(width) if place in _TEXT_COLUMNS else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
