from __future__ import annotations

import numpy as np
import pytest
import torch

from itkm.errors import InputError
from itkm.labelling import neighbours
from itkm.labelling.neighbours import nearest_neighbours


def exact_rows(count: int, seed: int) -> np.ndarray:
    """16 entries of +-1 among 24: the cosines are exact in float32, so a tie is a tie in any order of sums."""
    generator = np.random.default_rng(seed)
    rows = np.zeros((count, 24), dtype=np.float32)
    for row in rows:
        row[generator.choice(24, 16, replace=False)] = generator.choice([-1, 1], 16)
    return rows


def sorted_naively(cosines: np.ndarray, k: int) -> np.ndarray:
    """Per row: larger cosine first, smaller index first among equals."""
    return np.array([sorted(range(len(row)), key=lambda j: (-row[j], j))[:k] for row in cosines])


@pytest.mark.parametrize("block", [50, 700, 10**6])
@pytest.mark.parametrize("count", [2, 64, 100])
def test_ties_go_to_the_smaller_index_whatever_the_block(
    monkeypatch: pytest.MonkeyPatch, block: int, count: int
) -> None:
    monkeypatch.setattr(neighbours, "_BLOCK_ENTRIES", block)
    rows = exact_rows(count, seed=count)
    rows[count // 2 :] = rows[: count - count // 2]
    cosines = (rows @ rows.T) / 16
    assert len(np.unique(cosines)) < count
    expected = cosines.copy()
    np.fill_diagonal(expected, np.inf)
    for k in {1, 2, min(10, count), count}:
        found, values = nearest_neighbours(rows, k)
        assert np.array_equal(found, sorted_naively(expected, k))
        assert np.array_equal(values, np.take_along_axis(cosines, found, axis=1))


def test_real_features_agree_with_float64() -> None:
    rows = np.random.default_rng(0).normal(size=(300, 40)).astype(np.float32) * 7
    units = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    found, values = nearest_neighbours(torch.from_numpy(rows), 20)
    assert np.array_equal(found, sorted_naively(units @ units.T, 20))
    assert np.allclose(values, np.take_along_axis(units @ units.T, found, axis=1), atol=1e-6)
    assert (found.dtype, values.dtype) == (np.int64, np.float32)


def test_an_item_is_its_own_first_neighbour_even_among_duplicates_and_zero_rows() -> None:
    rows = np.repeat(exact_rows(5, seed=1), 4, axis=0)
    rows[[3, 7, 19]] = 0
    found, values = nearest_neighbours(rows, 6)
    assert np.array_equal(found[:, 0], np.arange(20))
    assert np.isfinite(values).all()
    assert values[3].tolist() == [0.0] * 6
    assert values[0, 0] == 1.0


def test_queries_ask_others_and_are_not_treated_as_themselves() -> None:
    features, queries = exact_rows(30, seed=2), exact_rows(7, seed=3)
    found, _ = nearest_neighbours(features[::-1][::-1], 5, queries=queries[::-1])
    assert np.array_equal(found[::-1], sorted_naively(queries @ features.T, 5))
    found, _ = nearest_neighbours(features, 5, queries=queries)
    assert np.array_equal(found, sorted_naively(queries @ features.T, 5))


@pytest.mark.parametrize("k", [0, 11])
def test_k_out_of_range_is_named(k: int) -> None:
    with pytest.raises(InputError, match=rf"1 to the number of features \(10\), found {k}"):
        nearest_neighbours(exact_rows(10, seed=0), k)


def test_a_row_that_is_not_finite_is_named() -> None:
    rows = exact_rows(10, seed=0)
    rows[4, 2] = np.nan
    with pytest.raises(InputError, match="row 4 is not finite"):
        nearest_neighbours(rows, 3)


def test_queries_of_another_length_are_refused() -> None:
    with pytest.raises(InputError, match="queries have 8 values and features 24"):
        nearest_neighbours(exact_rows(10, seed=0), 3, queries=np.ones((2, 8), dtype=np.float32))
