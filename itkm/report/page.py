"""`reports/report.html`: everything on one page that needs no network, no script and no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import BaseModel

from itkm.config import Settings
from itkm.report.curves import STAGES, gains, stage_charts
from itkm.report.galleries import Gallery
from itkm.report.history import Row
from itkm.report.table import AVERAGE, MODELS, describe, percent, points, result_rows

QUALITY = {"clusters": "Stage III", "clusters_homogeneous": "Stage I"}
MATCHES = {"chm": "clusters (CHM)", "ihm": "instances (IHM)"}


@dataclass(frozen=True)
class Report:
    """All that the page shows.

    Attributes:
        metrics: the content of `reports/metrics.json`.
        galleries: pictures of each scenario.
        histories: rows of `history.csv` by training stage.
        settings: of the run.
        versions: names and versions of what made it.
        thumbnails: data URIs by (scenario, path).
    """

    metrics: Mapping[str, Any]
    galleries: Sequence[Gallery]
    histories: Mapping[str, Sequence[Row]]
    settings: Settings
    versions: Mapping[str, str]
    thumbnails: Mapping[tuple[str, str], str]


def build_page(report: Report, *, images: bool) -> str:
    """The page as HTML. The same report gives the same page.

    Args:
        report: what to show.
        images: False leaves every image of a person out and keeps the marks: for places that must hold none.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, points=points, number=number)
    return environment.get_template("page.html.j2").render(
        report=report,
        metrics=report.metrics,
        thumbnails=report.thumbnails if images else {},
        images=images,
        headline=headline(report.metrics),
        notes=describe(report.metrics),
        gains=gains(report.metrics),
        rows=result_rows(report.metrics),
        models=MODELS,
        average=AVERAGE,
        quality=QUALITY,
        matches=MATCHES,
        direction_of={own.scenario: own.direction for own in report.galleries},
        charts={title: stage_charts(stage, report.histories.get(stage, ())) for stage, title in STAGES.items()},
        settings=setting_sections(report.settings),
    )


def headline(metrics: Mapping[str, Any]) -> str:
    """The result in one sentence."""
    steps = [metrics["average"][model] for model in ("zero_shot", "homogeneous", "heterogeneous")]
    if None in steps:
        return "Nothing was scored: no scenario has labelled query and gallery images."
    before, middle, after = (percent(scores["mAP"]) for scores in steps)
    sentence = f"Average mAP: {before} % zero-shot, {middle} % after Stage I, {after} % after Stage III."
    return sentence.replace(" %", "\N{NO-BREAK SPACE}%")


def setting_sections(settings: Settings) -> dict[str, list[tuple[str, str, str]]]:
    """(key, value, meaning) of every parameter, by its section of params.yaml."""
    values = {name: getattr(settings, name) for name in type(settings).model_fields}
    inner = {name: value for name, value in values.items() if isinstance(value, BaseModel)}
    return {
        "all stages": [own for own in _described(settings) if own[0] not in inner],
        **{name: _described(section) for name, section in inner.items()},
    }


def number(value: float | None) -> str:
    """A count without decimals, `-` for None."""
    return "-" if value is None else f"{value:,.0f}"


def _described(section: BaseModel) -> list[tuple[str, str, str]]:
    return [
        (name, _plain(getattr(section, name)), field.description or "")
        for name, field in type(section).model_fields.items()
    ]


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {own}" for key, own in value.items()) or "none"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
