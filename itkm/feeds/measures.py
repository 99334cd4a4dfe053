"""What the suite judges beside the profile's own columns: each measure is one column, pure and without thresholds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from itkm.errors import ItkmError

TYPICAL_SHARPNESS = 0.5  # of a crop in which every line of pixels tells something: measured .2 to .8 on nine cameras


def sharpness(profile: pd.DataFrame) -> pd.Series[float]:
    """Variance of the Laplacian over variance of the luminance: how much of the contrast is edges.

    Without the division a dull camera would count as blurred, and a bright one would hide its blur.
    """
    return profile["laplacian"] / (profile["contrast"] ** 2 + 1)  # + 1 grey level: an even image is not sharp


def detail(profile: pd.DataFrame) -> pd.Series[float]:
    """The effective height in pixels: that of a sharp image which shows as much.

    Enlarging an image f-fold divides its second derivatives by f^2 and so its sharpness by f^4.
    """
    lines: pd.Series[float] = profile["height"] * (sharpness(profile) / TYPICAL_SHARPNESS) ** 0.25
    return lines


def seconds_since_previous(profile: pd.DataFrame) -> pd.Series[float]:
    """Seconds from the image before in the same tracklet and camera; NaN at its start, and without a tracklet or time.

    Files that do not decode are left out: a profile lists them behind the images.
    """
    known = profile[profile["decode_ok"] & (profile["tracklet"] >= 0) & profile["timestamp"].notna()]
    steps: pd.Series[float] = known.groupby(["camera", "tracklet"])["timestamp"].diff().dt.total_seconds()
    return steps.reindex(profile.index)


def coverage(profile: pd.DataFrame) -> pd.Series[float]:
    """The share of the hours between first and last image that have images: one value for the feed, in every row."""
    hours = profile["timestamp"].dropna().dt.floor("h")
    span = (hours.max() - hours.min()) / pd.Timedelta(hours=1) + 1 if len(hours) else np.nan
    return pd.Series(hours.nunique() / span, index=profile.index)


MEASURES: Mapping[str, Callable[[pd.DataFrame], pd.Series[float]]] = {
    "sharpness": sharpness,
    "detail": detail,
    "seconds_since_previous": seconds_since_previous,
    "coverage": coverage,
}
"""By the name of their column."""


def with_measures(profile: pd.DataFrame) -> pd.DataFrame:
    """The profile with every measure beside its own columns.

    Raises:
        ItkmError: a measure fails, which is never the data's fault.
    """
    columns = {}
    for name, measure in MEASURES.items():
        try:
            columns[name] = measure(profile)
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise ItkmError(f"the measure {name!r} failed ({what}): a failure of ours, not of the data.") from error
    return profile.assign(**columns)
