"""Drift of features against its definitions, written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itkm.feeds.drift import FEWEST, discrepancies, discrepancy, domain_auc, gaussian_kernel, measure_drift


def unit(points: np.ndarray) -> np.ndarray:
    return points / np.linalg.norm(points, axis=-1, keepdims=True)


def naive_mmd(kernel: np.ndarray, first: list[int], second: list[int]) -> float:
    """Unbiased squared MMD, equation 3 of Gretton et al. 2012."""

    def mean(rows: list[int], columns: list[int]) -> float:
        pairs = [(i, j) for i in rows for j in columns if i != j]
        return sum(kernel[i, j] for i, j in pairs) / len(pairs)

    return float(mean(first, first) + mean(second, second) - 2 * mean(first, second))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 999))
def test_the_discrepancy_is_that_of_the_definition(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kernel = gaussian_kernel(unit(rng.normal(size=(n + m, 3))))
    order = rng.permutation(n + m)
    first = np.zeros((n + m, 2), dtype=bool)
    first[:n, 0] = True
    first[order[:n], 1] = True
    expected = [naive_mmd(kernel, sorted(part[:n]), sorted(part[n:])) for part in (range(n + m), order.tolist())]
    np.testing.assert_allclose(discrepancies(kernel, first), expected, atol=1e-12)


def test_the_kernel_is_gaussian_with_the_median_distance() -> None:
    points = unit(np.random.default_rng(0).normal(size=(7, 2)))
    distances = [[float(np.sum((a - b) ** 2)) for b in points] for a in points]
    median = np.median([distances[i][j] for i in range(7) for j in range(i + 1, 7)])
    np.testing.assert_allclose(gaussian_kernel(points), np.exp(-np.array(distances) / median))


def test_p_is_small_only_where_samples_differ() -> None:
    rng = np.random.default_rng(3)
    same = [discrepancy(*unit(rng.normal(size=(2, 30, 4))), rng, permutations=99)[1] for _ in range(20)]
    pairs = [(unit(rng.normal(size=(30, 4))), unit(rng.normal(1, 1, (30, 4)))) for _ in range(5)]
    apart = [discrepancy(*pair, rng, permutations=99)[1] for pair in pairs]
    assert np.mean(np.array(same) <= 0.05) <= 0.2
    assert max(apart) == 0.01  # the true split alone reaches its discrepancy


def test_the_classifier_tells_apart_what_differs() -> None:
    rng = np.random.default_rng(0)
    first, second, other = rng.normal(size=(80, 6)), rng.normal(size=(80, 6)), rng.normal(2, 1, (80, 6))
    assert domain_auc(first, second, seed=0) == pytest.approx(0.5, abs=0.15)
    assert domain_auc(first, other, seed=0) > 0.98


def cameras_of(count: int, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    names = np.repeat([f"c{number}" for number in range(count)], 60)
    centres = rng.normal(0, spread, (count, 12))
    return (3 + rng.normal(0, 1, (len(names), 12)) + np.repeat(centres, 60, axis=0)).astype(np.float32), names


def test_a_new_camera_like_the_others_does_not_drift_and_a_fault_does() -> None:
    """Every camera separates from the others: the classifier alone would cry at each."""
    features, names = cameras_of(5, 0.6, seed=4)
    new, known = names == "c4", names != "c4"
    like = measure_drift(features[new], features[known], names[known])
    assert like is not None and like.auc > 0.8 and like.p < 0.05
    assert like.ratio < 3
    far = measure_drift(features[new] * np.linspace(-2, 2, 12, dtype=np.float32), features[known], names[known])
    assert far is not None and far.ratio > 3


def test_the_same_images_give_the_same_drift() -> None:
    features, names = cameras_of(3, 0.5, seed=0)
    first, second = (measure_drift(features[:60], features[60:], names[60:], seed=7) for _ in range(2))
    assert first == second is not None


def test_two_cameras_and_enough_images_are_needed() -> None:
    features, names = cameras_of(3, 0.5, seed=0)
    assert measure_drift(features[:60], features[60:120], names[60:120]) is None
    assert measure_drift(features[: FEWEST - 1], features[60:], names[60:]) is None
    assert measure_drift(features[:60], features[60:], names[60:]) is not None
