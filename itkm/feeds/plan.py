"""Which checks a feed must pass, and within which limits.

Imports Great Expectations, as `itkm.feeds.expectations` does: import it where it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from great_expectations.expectations.core.expect_column_kl_divergence_to_be_less_than import (
    ExpectColumnKLDivergenceToBeLessThan,
)
from great_expectations.expectations.core.expect_column_values_to_be_between import ExpectColumnValuesToBeBetween
from great_expectations.expectations.core.expect_column_values_to_be_unique import ExpectColumnValuesToBeUnique
from great_expectations.expectations.core.expect_table_columns_to_match_set import ExpectTableColumnsToMatchSet
from great_expectations.expectations.core.expect_table_row_count_to_be_between import ExpectTableRowCountToBeBetween
from great_expectations.expectations.row_conditions import Column

from itkm.config import FeedSettings
from itkm.data.groups import INFRARED_NAMES, VISIBLE_NAMES
from itkm.feeds import expectations as ours
from itkm.feeds.drift import Drift
from itkm.feeds.feed import Feed
from itkm.feeds.histograms import TAIL, Histogram, camera_divergence
from itkm.feeds.measures import with_measures
from itkm.feeds.profile import COLUMNS
from itkm.feeds.thresholds import HIGH, LOW, Reference, limit_of
from itkm.feeds.verdict import Severity

FIRST_TIMESTAMP = pd.Timestamp("2000-01-01", tz="UTC")  # before it, a clock was never set
CLOCK_ERROR = pd.Timedelta(minutes=5)  # that nobody needs to hear of
DECODED = Column("decode_ok") == True  # noqa: E712 - a condition of Great Expectations, not a comparison
PROPERTIES = ("brightness", "contrast", "entropy", "sharpness", "chroma", "aspect")
UNCALIBRATED = "no limit for this scenario and group; `itkm feed calibrate` finds one"

CHECKS: dict[str, tuple[Severity, str, str]] = {
    "schema": (
        "critical",
        "The profile has every column",
        "Another version wrote the profile. Use the same one throughout.",
    ),
    "images": (
        "critical",
        "There are enough images",
        "Of so few nobody can tell what the camera gives. Deliver more.",
    ),
    "decodable": (
        "critical",
        "Files are whole images",
        "Transfers that break off leave such files. Copy them from the camera again; the quarantine names each.",
    ),
    "width": (
        "critical",
        "Images are wide enough",
        "Nobody can be told on such crops. Raise the smallest box of the detector, or take a larger stream.",
    ),
    "height": (
        "critical",
        "Images are high enough",
        "Nobody can be told on such crops. Raise the smallest box of the detector, or take a larger stream.",
    ),
    "copies": (
        "critical",
        "Each image is delivered once",
        "Find out why the delivery repeats itself, and deliver each image once.",
    ),
    "evaluation_overlap": (
        "critical",
        "Images are apart from those by which models are judged",
        "Take these images out: a model that trains on them would be judged by what it has seen.",
    ),
    "known_camera": (
        "critical",
        "Every camera is known",
        "Correct the names of the files, or the pattern that reads the camera from them.",
    ),
    "one_camera": (
        "warning",
        "All images are of the declared camera",
        "Validate the images of each camera as a feed of its own.",
    ),
    "dark": (
        "warning",
        "Images are bright enough",
        "Look at exposure and lamps: in the dark nobody is told apart.",
    ),
    "blurred": (
        "warning",
        "Images are sharp enough",
        "Look at focus, shutter time and a clean lens.",
    ),
    "near_duplicates": (
        "warning",
        "Images differ from each other",
        "Training learns no more from them than from one. Save fewer frames of a person who stands still.",
    ),
    "already_accepted": (
        "warning",
        "Images are new",
        "The camera delivers what it has delivered before. Look for the right day.",
    ),
    "past": (
        "warning",
        "Timestamps lie in the past",
        "Set the clock of the camera: by their time, images are packed into the shard of a day.",
    ),
    "order": (
        "warning",
        "Time runs forward in each tracklet",
        "The clock jumped, or two persons share a number. Look at the tracker.",
    ),
    "modality": (
        "warning",
        "Images are of the declared modality",
        "The camera delivers the other one. Declare the right --group, or split the feed by day and night.",
    ),
    "resolution": (
        "warning",
        "Images show the detail of their group",
        "The camera shows more or less than its group does. Declare the right --group.",
    ),
    "drift": (
        "warning",
        "To the model, images are like accepted ones",
        "Look at the embedding map and at the images: another scene, another lens, or a fault?",
    ),
    "coverage": (
        "info",
        "Most hours have images",
        "Was the camera off, or was nobody there?",
    ),
    **{
        f"{name}_drift": (
            "info",
            f"{name.capitalize()} is as in the accepted data",
            "The histogram shows by how much it differs.",
        )
        for name in PROPERTIES
    },
}
"""Of each check the severity, what is expected, and what to do where it fails."""


@dataclass(frozen=True)
class Planned:
    """A check before its run.

    Attributes:
        name: a key of `CHECKS`.
        expectation: of Great Expectations; None = not checked.
        limit: what is allowed, in words; why it is not checked where it is not.
        observed: how a single observed value is written; '' where images are counted.
    """

    name: str
    expectation: Any
    limit: str
    observed: str = ""

    @property
    def texts(self) -> tuple[Severity, str, str]:
        """Severity, what is expected, and what to do where it fails."""
        return CHECKS[self.name]

    def named(self) -> Any:
        """The expectation with its severity and the check's name, by which its outcome is found."""
        return self.expectation.copy(update={"meta": {"check": self.name}, "severity": self.texts[0]})


@dataclass(frozen=True)
class Context:
    """What a feed is judged by.

    Attributes:
        frame: its profile with the measures beside it; `drift` among them where it was measured.
        feed: who delivered it; None = a data set.
        scenario, group: of the images.
        settings: the limits.
        reference: the accepted data.
        drift: of the features, or why it was not measured.
    """

    frame: pd.DataFrame
    feed: Feed | None
    scenario: str
    group: str
    settings: FeedSettings
    reference: Reference
    drift: Drift | str

    def limit(self, name: str) -> float | None:
        """The limit of this scenario and group in one of the settings' tables."""
        return limit_of(getattr(self.settings, name), self.scenario, self.group)

    @property
    def mostly(self) -> float:
        """The share of images that must keep an ordinary limit."""
        return 1 - self.settings.tolerated

    @property
    def of_lit_images(self) -> dict[str, Any]:
        """What makes an expectation one of images that are not dark: of those in the dark nothing else can be told."""
        return {"mostly": self.mostly, "row_condition": Column("brightness") >= (self.limit("brightness") or 0.0)}

    @property
    def tolerated(self) -> str:
        """How many may break it, in words."""
        return f"{self.settings.tolerated:.0%} of the images may differ"


def plan_checks(context: Context) -> list[Planned]:
    """All checks of a profile that has every column; else that of the columns alone."""
    complete = ExpectTableColumnsToMatchSet(column_set=list(COLUMNS), exact_match=False)
    checks = [Planned("schema", complete, f"at least the {len(COLUMNS)} of a profile", "{} columns")]
    if set(COLUMNS) <= set(context.frame.columns):
        for part in (files, copies, cameras, exposure, times, looks, drifts):
            checks.extend(part(context))
    return checks


def files(context: Context) -> Iterator[Planned]:
    """Enough files, that decode and are large enough."""
    own = context.settings
    enough = ExpectTableRowCountToBeBetween(min_value=own.min_images)
    yield Planned("images", enough, f"at least {own.min_images:,} files", "{:,} files")
    decode = ours.ExpectFilesToDecode(mostly=own.decode_rate)
    yield Planned("decodable", decode, f"at least {own.decode_rate:.0%} of the files decode")
    for side, floor in (("width", own.min_width), ("height", own.min_height)):
        large = ExpectColumnValuesToBeBetween(column=side, min_value=floor, mostly=1 - own.small, row_condition=DECODED)
        yield Planned(side, large, f"at least {floor} pixels; {own.small:.0%} of the images may have fewer")


def copies(context: Context) -> Iterator[Planned]:
    """Few copies and near copies: within the feed, of accepted images, and none of those by which models are judged."""
    own = context.settings
    unique = ExpectColumnValuesToBeUnique(column="sha256", mostly=1 - own.copies, row_condition=DECODED)
    yield Planned("copies", unique, f"{own.copies:.0%} of the images may share their content with another")
    yield Planned("evaluation_overlap", ours.ExpectNoEvaluationImages(), "none, nor a near copy")
    few, mostly = f"{own.near_duplicates:.0%} of the images may nearly repeat", 1 - own.near_duplicates
    yield Planned("near_duplicates", ours.ExpectFewRepetitions(mostly=mostly), f"{few} another one")
    if context.feed is not None:
        yield Planned("already_accepted", ours.ExpectNewImages(mostly=mostly), f"{few} an accepted one")


def cameras(context: Context) -> Iterator[Planned]:
    """Known cameras, and in a feed one; a data set names its own."""
    if context.feed is None:
        return
    camera = context.feed.camera
    known = ours.ExpectKnownCameras(value_set=sorted({camera, *context.reference.cameras}))
    yield Planned("known_camera", known, f"{camera}, or a camera of the accepted data")
    yield Planned("one_camera", ours.ExpectOneCamera(value_set=[camera]), camera)


def exposure(context: Context) -> Iterator[Planned]:
    """Neither dark nor blurred."""
    dark, blurred = context.limit("brightness"), context.limit("sharpness")
    if dark is None:
        yield Planned("dark", None, UNCALIBRATED)
    else:
        bright = ExpectColumnValuesToBeBetween(column="brightness", min_value=dark, mostly=context.mostly)
        yield Planned("dark", bright, f"mean luminance at least {dark:g} of 255; {context.tolerated}")
    if blurred is None:
        yield Planned("blurred", None, UNCALIBRATED)
    else:
        sharp = ExpectColumnValuesToBeBetween(column="sharpness", min_value=blurred, **context.of_lit_images)
        yield Planned("blurred", sharp, f"sharpness at least {blurred:g}; {context.tolerated}, dark ones left out")


def times(context: Context) -> Iterator[Planned]:
    """Timestamps that can be true, and few silent hours."""
    frame, own = context.frame, context.settings
    if not frame["timestamp"].notna().any():
        yield from (Planned(name, None, "no timestamps") for name in ("past", "order", "coverage"))
        return
    if context.feed is not None:
        delivery = pd.Timestamp(context.feed.claimed_at) + CLOCK_ERROR
        past = ours.ExpectTimestampsInThePast(min_value=FIRST_TIMESTAMP, max_value=delivery)
        yield Planned("past", past, f"from {FIRST_TIMESTAMP.year} until the delivery")
    if frame["seconds_since_previous"].notna().any():
        yield Planned("order", ours.ExpectTimestampsInOrder(), "no step back")
    else:
        yield Planned("order", None, "no tracklets")
    covered = ours.ExpectHourlyCoverage(min_value=own.coverage)
    said = f"at least {own.coverage:.0%} of the hours between first and last image"
    yield Planned("coverage", covered, said, "{:.0%}")


def looks(context: Context) -> Iterator[Planned]:
    """The declared group against what the images are."""
    group, boundary, detail = context.group.lower(), context.settings.infrared, context.limit("detail")
    rest = f"{context.tolerated}, dark ones left out"
    if group in INFRARED_NAMES:
        grey = ours.ExpectDeclaredModality(min_value=boundary, **context.of_lit_images)
        yield Planned("modality", grey, f"{group}: infrared score at least {boundary:g}; {rest}")
    elif group in VISIBLE_NAMES:
        colour = ours.ExpectDeclaredModality(max_value=boundary, **context.of_lit_images)
        yield Planned("modality", colour, f"{group}: infrared score at most {boundary:g}; {rest}")
    elif group in (LOW, HIGH) and detail is None:
        yield Planned("resolution", None, UNCALIBRATED)
    elif group == LOW:
        little = ours.ExpectDeclaredResolution(max_value=detail, **context.of_lit_images)
        yield Planned("resolution", little, f"{group}: effective height at most {detail:g} pixels; {rest}")
    elif group == HIGH:
        much = ours.ExpectDeclaredResolution(min_value=detail, **context.of_lit_images)
        yield Planned("resolution", much, f"{group}: effective height at least {detail:g} pixels; {rest}")


def drifts(context: Context) -> Iterator[Planned]:
    """What the images are like against the accepted ones: to the model, and in plain properties."""
    own = context.settings
    if isinstance(context.drift, str):
        yield Planned("drift", None, context.drift)
    else:
        near = ours.ExpectFamiliarFeatures(max_value=own.drift)
        yield Planned("drift", near, f"at most {own.drift:g} times that between accepted cameras", "{:.2g} times")
    if context.feed is None:
        return
    accepted = with_measures(context.reference.own)
    for column in PROPERTIES:
        yield _property_drift(context, accepted, column)


def _property_drift(context: Context, accepted: pd.DataFrame, column: str) -> Planned:
    """A property's distribution against that of the accepted images, within a multiple of what cameras differ by."""
    histogram = Histogram.of(accepted[column].to_numpy(dtype=np.float64))
    between = camera_divergence(accepted, column)
    if histogram is None or between is None or not context.frame[column].notna().any():
        return Planned(f"{column}_drift", None, "no two accepted cameras whose images differ in it")
    factor = context.settings.property_drift
    limit = round(factor * between, 2)
    bins = {"bins": list(histogram.edges), "weights": list(histogram.weights), "tail_weights": [TAIL, TAIL]}
    like = ExpectColumnKLDivergenceToBeLessThan(column=column, partition_object=bins, threshold=limit)
    said = f"at most {limit:g}, {factor:g} times that between accepted cameras"
    return Planned(f"{column}_drift", like, said, "divergence {:.2f}")
