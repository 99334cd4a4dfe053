"""What a feed is compared with: the accepted data of its scenario and group, and the limits that hold for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

LOW, HIGH = "low", "high"  # the groups of a scenario of resolutions, as `GROUP_ORDER` names them

NOTHING = pd.DataFrame(
    {
        **dict.fromkeys(("path", "sha256", "phash", "group", "camera"), pd.Series(dtype="str")),
        **dict.fromkeys(("brightness", "contrast", "entropy", "laplacian", "chroma"), pd.Series(dtype="float64")),
        **dict.fromkeys(("height", "aspect"), pd.Series(dtype="float64")),
        "decode_ok": pd.Series(dtype="bool"),
        "tracklet": pd.Series(dtype="int64"),
        "timestamp": pd.Series(dtype="datetime64[us, UTC]"),
    }
)
"""The profile of no image, with the columns that accepted images are compared by."""


@dataclass(frozen=True, eq=False)
class Reference:
    """The accepted data of a scenario.

    Attributes:
        profile: one row per training image of all groups, columns as `itkm.feeds.profile` gives them; may be empty.
        evaluation: `path`, `sha256` and `phash` of its query, gallery and validation images.
        features: [N, D] float32, a row per row of `own`; None without a model.
        cameras: names of all its cameras.
        group: the group that the feed is compared with.
        data: SHA-256 of the manifest; '' where there is none.
    """

    profile: pd.DataFrame
    evaluation: pd.DataFrame
    features: NDArray[np.float32] | None = None
    cameras: tuple[str, ...] = ()
    group: str = ""
    data: str = ""

    @property
    def own(self) -> pd.DataFrame:
        """The rows of `profile` that are of the feed's group."""
        return self.profile[self.profile["group"] == self.group]

    @classmethod
    def empty(cls) -> Self:
        """Nothing was accepted yet."""
        return cls(NOTHING, NOTHING[["path", "sha256", "phash"]])


def limit_of(limits: Mapping[str, float], scenario: str, group: str) -> float | None:
    """The limit of a scenario and group: its own, else its scenario's, else `default`, else None."""
    keys = (f"{scenario}/{group}", scenario, "default")
    return next((limits[key] for key in keys if key in limits), None)
