"""`itkm feed calibrate`: the limits of dark, blurred and low resolution, read off the accepted data."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from itkm.config import FeedSettings
from itkm.feeds.measures import with_measures
from itkm.feeds.thresholds import HIGH, LOW

RARE = 0.01  # share of a camera's images that lie below its usual
MARGINS = {"brightness": 0.5, "sharpness": 0.25}  # of the usual: a new camera may be as dull as none before it


def calibrate(profiles: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, float]]:
    """Limits by setting, and there by `<scenario>/<group>`.

    An image is dark or blurred if it is so by far in the eyes of the group's worst camera: `MARGINS` of what all but
    `RARE` of that camera's images reach. Low and high resolution part half-way between the highest detail of the low
    images and the lowest of the high ones, `RARE` of each left out.

    Args:
        profiles: of the accepted data, by scenario.
    """
    found: dict[str, dict[str, float]] = {name: {} for name in (*MARGINS, "detail")}
    for scenario, profile in profiles.items():
        frame = with_measures(profile[profile["decode_ok"]])
        for group, rows in frame.groupby("group"):
            for name, margin in MARGINS.items():
                usual = rows.groupby("camera")[name].quantile(RARE).min()
                found[name][f"{scenario}/{group}"] = _rounded(margin * float(usual))
        detail = frame.groupby("group")["detail"]
        if {LOW, HIGH} == set(frame["group"]):
            boundary = (detail.get_group(LOW).quantile(1 - RARE) + detail.get_group(HIGH).quantile(RARE)) / 2
            found["detail"][scenario] = _rounded(float(boundary))
    return found


def as_lines(found: Mapping[str, Mapping[str, float]], current: FeedSettings) -> str:
    """The limits as the lines of params.yaml that they replace; `default` stays what it is."""
    lines = []
    for name, limits in found.items():
        field = FeedSettings.model_fields[name]
        kept = {key: value for key, value in getattr(current, name).items() if key == "default"}
        comment = f"{field.description} (default: {_plain(field.default)})"
        lines.append(f"  {name}: {_plain({**kept, **limits})}  # {comment}")
    return "\n".join(lines)


def _plain(limits: Mapping[str, float]) -> str:
    return "{" + ", ".join(f"{key}: {value:g}" for key, value in limits.items()) + "}"


def _rounded(value: float) -> float:
    """Two digits: more would pretend to know."""
    return float(f"{value:.2g}")
