from __future__ import annotations

import numpy as np
import pytest
import torch

from itkm.errors import InputError
from itkm.labelling import neighbours
from itkm.labelling.neighbours import least_cosines, nearest_neighbours


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


@pytest.mark.parametrize("tile", [9, 30, 10**6])
@pytest.mark.parametrize("count", [2, 64, 100])
def test_ties_go_to_the_smaller_index_whatever_the_tile(monkeypatch: pytest.MonkeyPatch, tile: int, count: int) -> None:
    monkeypatch.setattr(neighbours, "_TILE", tile)
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
        asked, _ = nearest_neighbours(rows, k, queries=rows[::-1])
        assert np.array_equal(asked[::-1], sorted_naively(cosines, k))


@pytest.mark.parametrize("count", [5, 99, 100])
def test_tiles_are_even_so_that_no_narrow_rest_is_multiplied_otherwise(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(neighbours, "_TILE", 10)
    widths = []
    offer = neighbours._Best.offer

    def noting(best: neighbours._Best, rows: slice, similarity: torch.Tensor, *, first: int) -> None:
        widths.append(similarity.shape)
        offer(best, rows, similarity, first=first)

    monkeypatch.setattr(neighbours._Best, "offer", noting)
    nearest_neighbours(exact_rows(count, seed=0), 3)
    assert min(min(shape) for shape in widths) >= min(count, 10)
    assert max(max(shape) for shape in widths) < 20


def test_duplicates_stay_in_order_across_tiles() -> None:
    """Random features, where another order of sums would show: 2 tiles and a bit, every row several times."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(700, 48)).astype(np.float32)[generator.integers(700, size=2 * neighbours._TILE + 5)]
    found, _ = nearest_neighbours(rows, 12)
    for i in range(0, len(rows), 20):
        copies = np.flatnonzero((rows == rows[i]).all(axis=1))
        expected = [i, *copies[copies != i]][:12]
        assert found[i, : len(expected)].tolist() == expected


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


@pytest.mark.parametrize("tile", [7, 10**6])
def test_the_least_cosine_is_that_of_the_farthest(monkeypatch: pytest.MonkeyPatch, tile: int) -> None:
    monkeypatch.setattr(neighbours, "_TILE", tile)
    rows = exact_rows(50, seed=4)
    rows[3] = 0
    assert np.array_equal(least_cosines(rows), (rows @ rows.T / 16).min(axis=1))


class TestFaiss:
    """Where it is installed, it answers large numbers of queries on a CPU, and nobody sees a difference."""

    @pytest.fixture(autouse=True)
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """How many neighbours faiss was asked for, each time."""
        faiss = pytest.importorskip("faiss")
        knn, calls = faiss.knn, []

        def noting(queries: np.ndarray, others: np.ndarray, k: int, *, metric: int) -> tuple[np.ndarray, np.ndarray]:
            calls.append(k)
            found: tuple[np.ndarray, np.ndarray] = knn(queries, others, k, metric=metric)
            return found

        monkeypatch.setattr(faiss, "knn", noting)
        monkeypatch.setattr(neighbours, "_FAISS_PAYS", 0)
        return calls

    @pytest.mark.parametrize("k", [1, 2, 10, 59, 60])
    def test_same_lists_with_ties_duplicates_and_zero_rows(self, asked: list[int], k: int) -> None:
        rows = np.repeat(exact_rows(20, seed=5), 3, axis=0)[np.random.default_rng(0).permutation(60)]
        rows[[4, 30]] = 0
        queries = np.concatenate([rows[::2], exact_rows(9, seed=6), np.zeros((1, 24), dtype=np.float32)])
        found, values = nearest_neighbours(rows, k, queries=queries)
        assert np.array_equal(found, sorted_naively(queries @ rows.T, k))
        assert np.array_equal(values, np.take_along_axis(queries @ rows.T / 16, found, axis=1))
        assert asked == [min(k + 1, 60)]

    def test_same_lists_of_real_features(self, asked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
        generator = np.random.default_rng(7)
        rows, queries = generator.normal(size=(2, 400, 40)).astype(np.float32)
        found, values = nearest_neighbours(rows, 20, queries=queries)
        monkeypatch.setattr(neighbours, "find_spec", lambda name: None)
        without, their_values = nearest_neighbours(rows, 20, queries=queries)
        assert len(asked) == 1
        assert np.array_equal(found, without)
        assert np.allclose(values, their_values, atol=1e-6)
        assert (found.dtype, values.dtype) == (np.int64, np.float32)

    def test_it_is_not_asked_where_it_does_not_pay(self, asked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
        rows = exact_rows(30, seed=8)
        nearest_neighbours(rows, 5)  # each product serves rows and columns
        monkeypatch.setattr(neighbours, "_FAISS_PAYS", 30 * 30 + 1)
        nearest_neighbours(rows, 5, queries=rows)
        assert asked == []
