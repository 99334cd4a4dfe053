"""Features to cluster, and the textbook's dense Jaccard distance to compare with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest


def clustered(count: int, seed: int) -> np.ndarray:
    """About 20 to a cluster, of mixed tightness, so that some points are core, some border, some outliers."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(max(2, count // 20), 32))
    spread = generator.uniform(0.3, 1.3, size=(count, 1))
    return centres[generator.integers(len(centres), size=count)] + spread * generator.normal(size=(count, 32))


def uniform(count: int, seed: int) -> np.ndarray:
    """No clusters at all."""
    return np.random.default_rng(seed).normal(size=(count, 32))


def duplicated(count: int, seed: int) -> np.ndarray:
    """Every image several times; cosines are exact in float32, so a tie is a tie in any order of sums."""
    generator = np.random.default_rng(seed)
    rows = np.zeros((count // 5 + 1, 24))
    for row in rows:
        row[generator.choice(24, 16, replace=False)] = generator.choice([-1, 1], 16)
    return rows[generator.integers(len(rows), size=count)]


def with_zero_rows(count: int, seed: int) -> np.ndarray:
    """Exact cosines again, and one row in eleven is zero."""
    rows = duplicated(count, seed)
    rows[::11] = 0
    return rows


MAKERS: dict[str, Callable[[int, int], np.ndarray]] = {
    "clustered": clustered,
    "uniform": uniform,
    "duplicated": duplicated,
    "zero rows": with_zero_rows,
}


def textbook_distances(features: np.ndarray, k1: int, k2: int) -> np.ndarray:
    """[N, N] k-reciprocal Jaccard distance as Cluster-Contrast computes it: dense, with loops, in float64."""
    count = len(features)
    units = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    cosines = units @ units.T
    rounded = np.round(cosines, 9)  # equal is equal: the sums of two orders differ in the last bits
    ranks = np.array([sorted(range(count), key=lambda j: (j != i, -rounded[i, j], j)) for i in range(count)])

    def reciprocal(i: int, length: int) -> set[int]:
        return {int(j) for j in ranks[i, :length] if i in ranks[j, :length]}

    # The list holds k1 entries, itself included; the half list is around(k1 / 2) + 1 of those, by banker's rounding.
    full = [reciprocal(i, k1) for i in range(count)]
    half = [reciprocal(i, min(k1, int(np.around(k1 / 2)) + 1)) for i in range(count)]
    encoding = np.zeros((count, count))
    for i in range(count):
        members = set(full[i])
        for j in full[i]:
            if len(half[j] & full[i]) > 2 / 3 * len(half[j]):
                members |= half[j]
        chosen = sorted(members)
        weights = np.exp(-(2 - 2 * cosines[i, chosen]))
        encoding[i, chosen] = weights / weights.sum()
    encoding = np.array([encoding[ranks[i, :k2]].mean(axis=0) for i in range(count)])
    minima = np.array([np.minimum(encoding[i], encoding).sum(axis=1) for i in range(count)])
    distances: np.ndarray = np.maximum(1 - minima / (2 - minima), 0)
    return distances


@pytest.fixture(params=list(MAKERS))
def make(request: pytest.FixtureRequest) -> Callable[[int, int], np.ndarray]:
    """Each kind of features in turn: (count, seed) to [count, D] float64."""
    return MAKERS[request.param]


@pytest.fixture
def clustered_features() -> Callable[[int, int], np.ndarray]:
    """Those that look like persons."""
    return clustered


@pytest.fixture
def textbook() -> Callable[[np.ndarray, int, int], np.ndarray]:
    """The oracle."""
    return textbook_distances
