"""Charts as numbers: the template draws what is computed here, so that the page needs no script and no plotting."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from itkm.report.history import Row
from itkm.report.table import AVERAGE, percent

WIDTH, HEIGHT = 360, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 350, 10, 172  # of the plotting area
COLOURS = 6

STAGES = {
    "homogeneous": "Stage I, each group on its own",
    "prompts": "Stage II, prompts for the clusters",
    "heterogeneous": "Stage III, the groups matched",
}
LOSSES = {
    "loss": "whole loss",
    "loss_homogeneous": "homogeneous",
    "loss_cluster": "matched clusters (CHM)",
    "loss_instance": "matched instances (IHM)",
    "loss_text": "text-guided",
    "loss_image_text": "image to text",
    "loss_text_image": "text to image",
    "loss_separation": "separation of scenarios",
}
GROUP_CHARTS = {
    "clusters": "Clusters",
    "outliers": "Outliers, % of the images",
    "cluster_pairs": "Matched clusters (CHM)",
    "instance_pairs": "Matched instances (IHM)",
}
BETWEEN = "between_scenarios"


@dataclass(frozen=True)
class Line:
    """One line of a chart: `path` and the `end` point in the chart's coordinates, `colour` and `dash` by number."""

    name: str
    path: str
    end: tuple[float, float]
    colour: int
    dash: int
    summary: str


@dataclass(frozen=True)
class Tick:
    """A mark of an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """A line chart over epochs."""

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]

    @property
    def summary(self) -> str:
        """The chart in words, for those who do not see it."""
        return f"{self.title} over the epochs. " + "; ".join(line.summary for line in self.lines) + "."


@dataclass(frozen=True)
class Gain:
    """One row of the headline chart: mAP of the three models, as places between 0 and 100 and as text."""

    name: str
    zero_shot: float
    homogeneous: float
    heterogeneous: float
    summary: str


Points = list[tuple[float, float]]


def stage_charts(stage: str, history: Sequence[Row]) -> list[Chart]:
    """The charts of one training stage: losses, and what the stage counts in every group."""
    columns = list(history[0]) if history else []
    losses = {LOSSES[name]: _by_epoch(history, name) for name in LOSSES if name in columns}
    wanted = [("Loss", losses)]
    if stage == "prompts":
        cosine = {"texts of different scenarios": _by_epoch(history, BETWEEN)} if BETWEEN in columns else {}
        wanted.append(("Mean cosine between scenarios", cosine))
    for name, title in GROUP_CHARTS.items():
        if name in columns:
            wanted.append((title, _by_group(history, name, scale=100 if name == "outliers" else 1)))
    charts = (line_chart(title, lines, paired=title != "Loss") for title, lines in wanted)
    return [chart for chart in charts if chart.lines]


def gains(metrics: Mapping[str, Any]) -> list[Gain]:
    """The mAP of zero-shot, Stage I and Stage III for every scenario with scores, and their average."""
    rows = {**metrics["scenarios"], AVERAGE: metrics["average"]}
    return [_gain(name, scores) for name, scores in rows.items() if scores["zero_shot"]]


def _gain(name: str, scores: Mapping[str, Any]) -> Gain:
    values = [float(scores[model]["mAP"]) for model in ("zero_shot", "homogeneous", "heterogeneous")]
    before, middle, after = (round(100 * value, 2) for value in values)
    return Gain(name, before, middle, after, summary=" → ".join(map(percent, values)))


def _by_epoch(history: Sequence[Row], column: str) -> Points:
    """A value that all rows of an epoch share."""
    return _finite((float(row["epoch"]), float(row[column])) for row in history)


def _by_group(history: Sequence[Row], column: str, *, scale: float) -> dict[str, Points]:
    names = dict.fromkeys(f"{row['scenario']}/{row['group']}" for row in history)
    return {
        name: _finite(
            (float(row["epoch"]), scale * float(row[column]))
            for row in history
            if f"{row['scenario']}/{row['group']}" == name
        )
        for name in names
    }


def _finite(points: Iterable[tuple[float, float]]) -> Points:
    return sorted({epoch: value for epoch, value in points if math.isfinite(value)}.items())


def line_chart(title: str, series: Mapping[str, Points], *, paired: bool) -> Chart:
    """Lines scaled to the plotting area.

    Args:
        title: of the chart.
        series: the points of each line by its name; lines without points are left out.
        paired: two lines in turn share a colour: the groups of a scenario.
    """
    drawn = {name: points for name, points in series.items() if points}
    values = [value for points in drawn.values() for _, value in points]
    epochs = sorted({epoch for points in drawn.values() for epoch, _ in points})
    if not values:
        return Chart(title, (), (), ())
    y_marks = nice_marks(min(values), max(values))

    def place(epoch: float, value: float) -> tuple[float, float]:
        along = (epoch - epochs[0]) / ((epochs[-1] - epochs[0]) or 1)
        up = (value - y_marks[0]) / (y_marks[-1] - y_marks[0])
        return round(LEFT + along * (RIGHT - LEFT), 1), round(BOTTOM - up * (BOTTOM - TOP), 1)

    lines = tuple(
        Line(
            name=name,
            path="M" + "L".join(f"{x} {y}" for x, y in (place(*point) for point in points)),
            end=place(*points[-1]),
            colour=(number // 2 if paired else number) % COLOURS,
            dash=number % 2 if paired else number // COLOURS % 2,
            summary=f"{name}: from {points[0][1]:.4g} to {points[-1][1]:.4g}",
        )
        for number, (name, points) in enumerate(drawn.items())
    )
    x_marks = [epoch for epoch in nice_marks(epochs[0], epochs[-1]) if epochs[0] <= epoch <= epochs[-1]]
    whole = [mark for mark in x_marks if mark == int(mark)]
    return Chart(
        title,
        lines,
        tuple(Tick(place(mark, values[0])[0], f"{mark:g}") for mark in whole),
        tuple(Tick(place(epochs[0], mark)[1], f"{mark:,g}") for mark in y_marks),
    )


def nice_marks(low: float, high: float, *, intervals: int = 4) -> list[float]:
    """Round numbers, evenly spaced, that enclose [low, high]: steps of 1, 2 or 5 times a power of ten."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / intervals))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * intervals >= span)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, max(last, first + 1) + 1)]
