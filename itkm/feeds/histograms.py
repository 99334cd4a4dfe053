"""How a property of accepted images is distributed, and how far other images diverge from that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

BINS = 10
TAIL = 0.01  # share that is granted to either side of what was accepted: nothing there is impossible
FEWEST = 20  # images that say something of a camera

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Histogram:
    """Bins of about equal counts.

    Attributes:
        edges: of the bins, rising, one more than there are bins.
        weights: share of the images in each bin, with `TAIL` on either side together 1.
    """

    edges: tuple[float, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, values: Floats) -> Self | None:
        """The histogram of values; None where they are too few or too equal for bins."""
        edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1))) if len(values) >= FEWEST else np.empty(0)
        if len(edges) < 4:
            return None
        counts = np.histogram(values, edges)[0] / len(values)
        return cls(tuple(edges.tolist()), tuple(((1 - 2 * TAIL) * counts).tolist()))

    def divergence(self, values: Floats) -> float:
        """Kullback-Leibler divergence of other values from this histogram, in nats; 0 = distributed the same."""
        outside = [np.mean(values < self.edges[0]), np.mean(values > self.edges[-1])]
        found = np.array([*np.histogram(values, self.edges)[0] / len(values), *outside])
        expected = np.array([*self.weights, TAIL, TAIL])
        seen = found > 0
        return float(np.sum(found[seen] * np.log(found[seen] / expected[seen])))


def camera_divergence(accepted: pd.DataFrame, column: str) -> float | None:
    """The largest divergence of an accepted camera from the other accepted ones; None where there are no two."""
    counts = accepted["camera"].value_counts()
    found = []
    for camera in counts.index[counts >= FEWEST]:
        own = accepted["camera"] == camera
        others = Histogram.of(accepted.loc[~own, column].to_numpy(dtype=np.float64))
        if others is not None:
            found.append(others.divergence(accepted.loc[own, column].to_numpy(dtype=np.float64)))
    return max(found) if len(found) > 1 else None
