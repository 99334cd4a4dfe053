from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from itkm.errors import InputError
from itkm.evaluation.rerank import rerank
from itkm.labelling import neighbours, reciprocal

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from textbook import reranked_distances


def exact_rows(count: int, generator: np.random.Generator) -> np.ndarray:
    """16 entries of +-1 among 24: the cosines are exact in float32, with ties in any order of sums."""
    rows = np.zeros((count, 24), dtype=np.float32)
    for row in rows:
        row[generator.choice(24, 16, replace=False)] = generator.choice([-1, 1], 16)
    return rows


def persons(count: int, generator: np.random.Generator) -> np.ndarray:
    """About 8 noisy images of each."""
    centres = generator.normal(size=(max(1, count // 8), 32))
    rows = centres[generator.integers(len(centres), size=count)] + 0.7 * generator.normal(size=(count, 32))
    return rows.astype(np.float32)


def similarities(query: np.ndarray, gallery: np.ndarray, **options: Any) -> np.ndarray:
    """[Q, G] in one block."""
    return rerank(query, gallery, **options)(0, len(query))


@pytest.mark.parametrize("make", [exact_rows, persons])
@pytest.mark.parametrize(
    ("queries", "images", "k1", "k2", "weight"),
    [(40, 160, 20, 6, 0.3), (100, 500, 20, 6, 0.3), (30, 30, 7, 1, 0.0), (5, 100, 9, 10, 0.8), (20, 50, 1, 2, 1.0)],
)
def test_equals_the_dense_textbook(
    make: Callable[..., np.ndarray], queries: int, images: int, k1: int, k2: int, weight: float
) -> None:
    rows = make(queries + images, np.random.default_rng(queries + images))
    query, gallery = rows[:queries], rows[queries:]
    expected = 1 - reranked_distances(query.astype(np.float64), gallery.astype(np.float64), k1, k2, weight)
    found = similarities(query, gallery, k1=k1, k2=k2, weight=weight)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-5


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    queries=st.integers(1, 8),
    images=st.integers(1, 25),
    k1=st.integers(1, 30),
    k2=st.integers(1, 8),
    weight=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_equals_the_textbook_on_small_sets_with_duplicates_and_zero_rows(
    seed: int, queries: int, images: int, k1: int, k2: int, weight: float
) -> None:
    generator = np.random.default_rng(seed)
    distinct = exact_rows(max(2, (queries + images) // 2), generator)
    rows = distinct[generator.integers(len(distinct), size=queries + images)]
    rows[0] = distinct[0]
    rows[-1] = 0  # its distance is 2 from all, so no largest distance is 0
    k2 = min(k2, k1 + 1)
    expected = 1 - reranked_distances(
        rows[:queries].astype(np.float64), rows[queries:].astype(np.float64), k1, k2, weight
    )
    found = similarities(rows[:queries], rows[queries:], k1=k1, k2=k2, weight=weight)
    assert np.abs(found - expected).max() < 1e-5


def test_blocks_and_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = exact_rows(200, np.random.default_rng(1))
    whole = similarities(rows[:50], rows[50:])
    monkeypatch.setattr(neighbours, "_TILE", 30)
    monkeypatch.setattr(reciprocal, "_BLOCK_TERMS", 1)
    monkeypatch.setattr(reciprocal, "_BLOCK_SUMS", 450)
    similarity = rerank(torch.from_numpy(rows[:50]), torch.from_numpy(rows[50:]))
    assert similarity(0, 0).shape == (0, 150)
    parts = [similarity(start, min(start + 7, 50)) for start in range(0, 50, 7)]
    assert np.allclose(np.concatenate(parts), whole, atol=1e-6)


def test_the_scale_of_a_feature_does_not_matter() -> None:
    rows = exact_rows(80, np.random.default_rng(2))
    scales = 2.0 ** np.random.default_rng(3).integers(-3, 4, size=(80, 1))
    scaled = (rows * scales).astype(np.float32)
    assert np.array_equal(similarities(rows[:20], rows[20:]), similarities(scaled[:20], scaled[20:]))


def test_a_neighbour_of_neighbours_overtakes_a_stranger_who_is_as_near() -> None:
    """A chain of views of one person turns away from the query; the stranger has friends elsewhere."""
    angles = np.radians([0, 12, 24, 36, 48, -44, -54, -64, -74, -84])
    plane = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    plain = plane[:1] @ plane[1:].T
    found = similarities(plane[:1], plane[1:], k1=4, k2=1)
    assert plain[0, 4] > plain[0, 3]
    assert found[0, 3] > found[0, 4]


def test_images_that_are_all_the_same_are_equally_near() -> None:
    rows = np.full((12, 5), 0.3, dtype=np.float32)
    found = similarities(rows[:4], rows[4:])
    assert np.isfinite(found).all()
    assert (found >= 0.5).all()


@pytest.mark.parametrize("wrong", [{"k1": 0}, {"k2": 0}, {"k1": 5, "k2": 7}, {"weight": 1.1}, {"weight": float("nan")}])
def test_arguments_out_of_range_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected k1 of at least 1, k2 from 1 to k1"):
        similarities(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), **wrong)


def test_features_that_do_not_fit_are_named() -> None:
    rows = np.eye(4, dtype=np.float32)
    with pytest.raises(InputError, match="queries have 4 values and the gallery 3"):
        rerank(rows, rows[:, :3])
    with pytest.raises(InputError, match="0 queries and 4 gallery images"):
        rerank(rows[:0], rows)
    with pytest.raises(InputError, match="row 1 is not finite"):
        rerank(rows, np.array([[0, 0, 0, 1], [0, 0, 0, np.nan]], dtype=np.float32))
