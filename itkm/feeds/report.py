"""`report.html`: all that a person needs to decide on a feed, on one page that needs no network and no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray

import itkm.report
from itkm.config import FeedSettings
from itkm.feeds.feed import REPORT_FILE, VALIDATION_FILE
from itkm.feeds.figures import Day, Histograms, Map, Trend, days, embedding_map, histograms, trends
from itkm.feeds.measures import with_measures
from itkm.feeds.pictures import HEAD, picture_of
from itkm.feeds.quarantine import reasons
from itkm.feeds.thresholds import Reference
from itkm.feeds.verdict import SEVERITIES, Check, Verdict
from itkm.files import write_bytes

WORST = 12  # pictures of a failed check
SAMPLE = 24  # pictures drawn at random
GROUPS, MEMBERS = 8, 6  # groups of near duplicates, and pictures of each
LISTED = 200  # rows of a table
MARKS = {True: ("✓", "passed"), False: ("✗", "failed"), None: ("○", "not checked")}
HEADLINES = {"accepted": "accepted", "warnings": "accepted with warnings", "refused": "refused"}
SEVERITY_TITLES = {
    "critical": "Critical: one that fails refuses the feed",
    "warning": "Warnings: one that fails asks for a look",
    "info": "For information",
}
SECTIONS = {
    "checks": "Checks",
    "pictures": "Pictures",
    "duplicates": "Near duplicates",
    "histograms": "Properties",
    "hours": "Coverage by hour",
    "map": "Embedding map",
    "quarantine": "Quarantine",
    "history": "Earlier feeds",
    "identity": "Identity and versions",
}


@dataclass(frozen=True)
class Picture:
    """An image of the feed: its path, and its data URI; None where there is no picture."""

    path: str
    uri: str | None


@dataclass(frozen=True)
class Sheet:
    """Pictures under a title."""

    title: str
    note: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Page:
    """What the page shows beside the verdict.

    Attributes:
        worst: the worst images of each failed check.
        sample: images drawn at random.
        duplicates: groups of near duplicates, the largest first; `groups` is how many there are.
        groups: number of all groups.
        histograms: of the properties.
        days: images by hour.
        map: of the features; None without them.
        quarantine: (name, rule, message) of the first files put aside; `quarantined` is how many there are.
        quarantined: number of all of them.
        history: this camera's feeds, earliest first, this one last.
        trends: of the checks over these feeds.
    """

    worst: Sequence[Sheet]
    sample: Sheet
    duplicates: Sequence[Sheet]
    groups: int
    histograms: Sequence[Histograms]
    days: Sequence[Day]
    map: Map | None
    quarantine: Sequence[tuple[str, str, str]]
    quarantined: int
    history: Sequence[Mapping[str, Any]]
    trends: Sequence[Trend]


def write_report(
    folder: Path,
    profile: pd.DataFrame,
    verdict: Verdict,
    *,
    reference: Reference,
    features: NDArray[np.float32] | None = None,
    history: pd.DataFrame | None = None,
) -> None:
    """Writes `report.html` and `validation.json` into the folder of a feed.

    Args:
        folder: of the feed: `images/` and `quarantine/` are read.
        profile: one row per file.
        verdict: what was decided.
        reference: the accepted data.
        features: [N, D] of the images that decode; None without a model.
        history: earlier feeds of the camera, as `itkm.feeds.history.earlier` gives them.

    Raises:
        InputError: the folder cannot be written.
    """
    verdict.save(folder / VALIDATION_FILE)
    page = collect(folder, profile, verdict, reference=reference, features=features, history=history)
    write_bytes(folder / REPORT_FILE, build_page(verdict, page).encode())


def collect(
    folder: Path,
    profile: pd.DataFrame,
    verdict: Verdict,
    *,
    reference: Reference,
    features: NDArray[np.float32] | None,
    history: pd.DataFrame | None,
) -> Page:
    """Gathers what the page shows; see `write_report`."""
    whole = profile[profile["decode_ok"]]
    drawn = np.random.default_rng(0).permutation(len(whole))[:SAMPLE]
    repeated = whole[whole["duplicate_group"] >= 0].groupby("duplicate_group")["path"]
    groups = sorted((paths.tolist() for _, paths in repeated), key=len, reverse=True)
    put_aside = read_quarantine(folder)
    feeds = past_feeds(history, verdict, quarantined=len(put_aside))
    titles = {check.name: check.title for check in verdict.checks}
    return Page(
        worst=[sheet for check in verdict.checks if check.passed is False and (sheet := _worst(folder, check))],
        sample=_sheet(folder, "A random sample", "", whole["path"].iloc[np.sort(drawn)].tolist()),
        duplicates=[_sheet(folder, f"{len(own)} images", "", own[:MEMBERS]) for own in groups[:GROUPS]],
        groups=len(groups),
        histograms=histograms(with_measures(whole), with_measures(reference.own)),
        days=days(profile["timestamp"]),
        map=_map(features, reference.features),
        quarantine=put_aside[:LISTED],
        quarantined=len(put_aside),
        history=feeds,
        trends=trends([own["shares"] for own in feeds], titles) if len(feeds) > 1 else [],
    )


def build_page(verdict: Verdict, page: Page) -> str:
    """The page as HTML. The same verdict and pictures give the same page."""
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent, *itkm.report.__path__]),  # the report's looks
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    assert verdict.feed is not None, "a data set has no page"
    return environment.get_template("feed.html.j2").render(
        verdict=verdict,
        page=page,
        folder=verdict.folder,
        sections=SECTIONS,
        severities=SEVERITY_TITLES,
        head=f"{HEAD:.0%}",
        thresholds=described(verdict.thresholds),
        by_severity={severity: [own for own in verdict.checks if own.severity == severity] for severity in SEVERITIES},
        marks=MARKS,
        headlines=HEADLINES,
        headline=HEADLINES[verdict.status],
    )


def described(thresholds: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(key, value, meaning) of the thresholds that were used."""
    return [
        (name, _plain(value), FeedSettings.model_fields[name].description or "") for name, value in thresholds.items()
    ]


def read_quarantine(folder: Path) -> list[tuple[str, str, str]]:
    """(name, rule, message) of every file of a feed folder that was put aside, by name."""
    return sorted((str(own["name"]), str(own["rule"]), str(own["message"])) for own in reasons(folder))


def past_feeds(history: pd.DataFrame | None, verdict: Verdict, *, quarantined: int) -> list[dict[str, Any]]:
    """The camera's feeds, earliest first, this one last."""
    validated = None if history is None else history[history["event"] == "validated"]
    earlier: list[dict[str, Any]] = [] if validated is None else list(validated.to_dict("records"))  # type: ignore[arg-type]
    feed = verdict.feed or {}
    shares = {check.name: check.offender_count / max(verdict.images, 1) for check in verdict.checks}
    this = {"date": feed.get("claimed_at", ""), "images": verdict.images, "quarantined": quarantined}
    own = {**this, "status": verdict.status, "shares": shares}
    return [*(row for row in earlier if row["feed"] != feed.get("content")), own]


def _worst(folder: Path, check: Check) -> Sheet | None:
    """The worst offenders; None where there is no picture, as of files that do not decode."""
    shown = list(check.offenders[:WORST])
    note = f"{len(shown)} of {check.offender_count:,}, the worst first" if check.offender_count > WORST else ""
    sheet = _sheet(folder, check.title, note, shown)
    return sheet if any(picture.uri for picture in sheet.pictures) else None


def _sheet(folder: Path, title: str, note: str, paths: Sequence[str]) -> Sheet:
    return Sheet(title, note, tuple(Picture(path, picture_of(folder, path)) for path in paths))


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {own:g}" for key, own in value.items()) or "none"
    return str(value)


def _map(new: NDArray[np.float32] | None, accepted: NDArray[np.float32] | None) -> Map | None:
    return None if new is None or accepted is None or not len(new) else embedding_map(new, accepted)
