"""The page's charts as numbers: templates draw what is computed here, without a script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from itkm.report.curves import nice_marks

WIDTH, HEIGHT = 320, 120  # of a histogram's plotting area
BINS = 24
SIDE = 320  # of the embedding map
SHOWN_DAYS = 14
SHOWN_POINTS = 800  # of each side of the map

Floats = NDArray[np.float64]

PROPERTIES: Mapping[str, str] = {
    "brightness": "Brightness, mean luminance",
    "contrast": "Contrast, deviation of the luminance",
    "sharpness": "Sharpness, edges per contrast",
    "entropy": "Entropy of the luminance, bits",
    "chroma": "Chroma, distance from grey",
    "height": "Height, pixels",
}


@dataclass(frozen=True)
class Tick:
    """A mark of an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Histograms:
    """A property of the feed's images over that of the accepted ones; shares of the images, one scale.

    Attributes:
        title: of the property.
        new, accepted: outlines, '' without images.
        ticks: of the horizontal axis.
        summary: the chart in words.
    """

    title: str
    new: str
    accepted: str
    ticks: tuple[Tick, ...]
    summary: str


@dataclass(frozen=True)
class Day:
    """Images of a day: the height of each hour's bar, 0 to 1, and the chart in words."""

    date: str
    count: int
    bars: tuple[float, ...]
    summary: str


@dataclass(frozen=True)
class Map:
    """Features in their two main directions: dots of accepted and of new images, and the chart in words."""

    new: str
    accepted: str
    summary: str


@dataclass(frozen=True)
class Trend:
    """The share of images that broke one check in the camera's feeds, earliest first."""

    title: str
    path: str
    end: tuple[float, float]
    last: float
    summary: str


def histograms(new: pd.DataFrame, accepted: pd.DataFrame) -> list[Histograms]:
    """The properties in which the images differ at all."""
    drawn = (_histograms(name, _known(new[name]), _known(accepted[name])) for name in PROPERTIES)
    return [own for own in drawn if own is not None]


def _histograms(name: str, new: Floats, accepted: Floats) -> Histograms | None:
    both = np.concatenate([new, accepted])
    if not len(new) or np.ptp(both) == 0:
        return None
    marks = nice_marks(*np.quantile(both, (0.005, 0.995)).tolist())
    edges = np.linspace(marks[0], marks[-1], BINS + 1)
    shares = [np.histogram(np.clip(own, edges[0], edges[-1]), edges)[0] / max(len(own), 1) for own in (new, accepted)]
    top = max(share.max() for share in shares)
    outlines = [_outline(share / top) if share.any() else "" for share in shares]
    median = f"the median of the feed is {np.median(new):.3g}"
    if len(accepted):
        median += f", of the accepted images {np.median(accepted):.3g}"
    span = marks[-1] - marks[0]
    ticks = tuple(Tick(round(WIDTH * (mark - marks[0]) / span, 1), f"{mark:g}") for mark in marks)
    return Histograms(PROPERTIES[name], outlines[0], outlines[1], ticks, f"{PROPERTIES[name]}: {median}.")


def _outline(heights: Floats) -> str:
    """A closed path of steps, one for each bin."""
    step = WIDTH / len(heights)
    tops = " ".join(
        f"V{HEIGHT - height * (HEIGHT - 4):.1f}H{(number + 1) * step:.1f}" for number, height in enumerate(heights)
    )
    return f"M0 {HEIGHT} {tops} V{HEIGHT}Z"


def days(timestamps: pd.Series) -> list[Day]:
    """Images by hour (UTC) of the latest days that have any."""
    known = timestamps.dropna()
    counts = known.groupby([known.dt.strftime("%Y-%m-%d"), known.dt.hour]).size()
    top = int(counts.max()) if len(counts) else 0
    dates = sorted(set(counts.index.get_level_values(0)))[-SHOWN_DAYS:] if len(counts) else []
    return [_day(date, counts[date], top) for date in dates]


def _day(date: str, counts: pd.Series, top: int) -> Day:
    hours = [int(counts.get(hour, 0)) for hour in range(24)]
    busy = ", ".join(f"{hour}:00 {count}" for hour, count in enumerate(hours) if count)
    summary = f"{date}: images by hour (UTC): {busy}."
    return Day(date, sum(hours), tuple(round(count / top, 3) for count in hours), summary)


def embedding_map(new: NDArray[np.float32], accepted: NDArray[np.float32]) -> Map:
    """Principal components of both samples together; dots are paths of zero length with round ends."""
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    drawn = [own[np.sort(rng.permutation(len(own))[:SHOWN_POINTS])] for own in (new, accepted)]
    places = PCA(2, random_state=0).fit_transform(np.concatenate(drawn))
    low, high = places.min(axis=0), places.max(axis=0)
    scaled = 8 + (SIDE - 16) * (places - low) / np.maximum(high - low, 1e-9)
    dots = [_dots(part) for part in np.split(scaled, [len(drawn[0])])]
    summary = (
        f"Features of {len(drawn[0])} images of the feed and {len(drawn[1])} accepted images in their two main "
        "directions."
    )
    return Map(dots[0], dots[1], summary)


def _dots(places: Floats) -> str:
    return "".join(f"M{x:.0f} {y:.0f}h0" for x, y in places)


def trends(shares: Sequence[Mapping[str, float]], titles: Mapping[str, str]) -> list[Trend]:
    """A line for each check that any of the feeds broke.

    Args:
        shares: of each feed, the earliest first, the share of images by check.
        titles: of the checks to show.
    """
    broken = [name for name in titles if any(own.get(name, 0) > 0 for own in shares)]
    return [_trend(titles[name], [float(own.get(name, 0)) for own in shares]) for name in broken]


def _trend(title: str, values: list[float]) -> Trend:
    top = max(values)
    places = [
        (round(4 + 152 * number / max(len(values) - 1, 1), 1), round(36 - 32 * value / top, 1))
        for number, value in enumerate(values)
    ]
    path = "M" + "L".join(f"{x} {y}" for x, y in places)
    said = ", ".join(f"{value:.1%}" for value in values)
    return Trend(title, path, places[-1], values[-1], f"{title}, share of images in each feed, earliest first: {said}.")


def _known(values: Iterable[float]) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    return np.asarray(found[np.isfinite(found)])
