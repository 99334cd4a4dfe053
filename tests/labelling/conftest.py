"""Features to cluster, and the dense textbook to compare with."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from textbook import labelling_distances


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


def coded(count: int, seed: int, *, flipped: float) -> np.ndarray:
    """20 noisy copies each of random codes of 256 signs, among them duplicates and zero rows.

    The share of flipped signs makes them look trained (0.1: every person a cluster) or early (0.4: hardly any pair is
    near). The norms are powers of 2 and the cosines exact in float32: no sum of another order moves a neighbour.
    """
    generator = np.random.default_rng(seed)
    codes = generator.choice([-1.0, 1.0], size=(count // 20, 256))
    rows = np.repeat(codes, 20, axis=0) * np.where(generator.random((count, 256)) < flipped, -1, 1)
    rows[5::20] = rows[6::20]
    rows[::170] = 0
    return rows[generator.permutation(count)]


MAKERS: dict[str, Callable[[int, int], np.ndarray]] = {
    "clustered": clustered,
    "uniform": uniform,
    "duplicated": duplicated,
    "zero rows": with_zero_rows,
}


@pytest.fixture(params=list(MAKERS))
def make(request: pytest.FixtureRequest) -> Callable[[int, int], np.ndarray]:
    """Each kind of features in turn: (count, seed) to [count, D] float64."""
    return MAKERS[request.param]


@pytest.fixture
def clustered_features() -> Callable[[int, int], np.ndarray]:
    """Those that look like persons."""
    return clustered


@pytest.fixture
def coded_features() -> Callable[..., np.ndarray]:
    """Those that can be compared at any size: (count, seed, flipped=share)."""
    return coded


@pytest.fixture
def textbook() -> Callable[[np.ndarray, int, int], np.ndarray]:
    """The oracle: (features, k1, k2) to distances."""
    return labelling_distances
