from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from itkm.errors import InputError
from itkm.labelling import neighbours
from itkm.matching import instances
from itkm.matching.instances import consistent_pairs, match_instances, mutual_pairs

Make = Callable[[int, np.random.Generator], np.ndarray]


def exact(count: int, generator: np.random.Generator) -> np.ndarray:
    """Rows whose cosines are exact in float32, with many ties."""
    rows = np.zeros((count, 20), dtype=np.float32)
    for row in rows:
        row[generator.choice(20, 16, replace=False)] = generator.choice([-1, 1], 16)
    return rows


def real(count: int, generator: np.random.Generator) -> np.ndarray:
    return generator.normal(size=(count, 20)).astype(np.float32)


def by_sets(images: np.ndarray, others: np.ndarray, texts: np.ndarray, other_texts: np.ndarray, k: int) -> np.ndarray:
    """[N, M] by sorting everything; texts by similarity, then image similarity, then index."""

    def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        unit_a, unit_b = (x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1)[:, None] for x in (a, b))
        rounded: np.ndarray = np.round(unit_a @ unit_b.T, 6)
        return rounded

    image, text = cosines(images, others), cosines(texts, other_texts)
    pairs = np.zeros(image.shape, dtype=bool)
    for i in range(len(image)):
        by_image = sorted(range(len(others)), key=lambda j: (-image[i, j], j))[:k]
        by_text = sorted(range(len(others)), key=lambda j: (-text[i, j], -image[i, j], j))[:k]
        pairs[i, list(set(by_image) & set(by_text))] = True
    return pairs


@pytest.mark.parametrize("make", [exact, real])
@pytest.mark.parametrize(
    ("count", "others", "clusters"), [(40, 60, 5), (60, 40, 40), (1, 9, 2), (30, 1, 1), (25, 50, 1)]
)
@pytest.mark.parametrize("k", [1, 6, 20, 1000])
@pytest.mark.parametrize("block", [37, 10**6])
def test_equals_the_intersection_of_sets(
    monkeypatch: pytest.MonkeyPatch, make: Make, count: int, others: int, clusters: int, k: int, block: int
) -> None:
    monkeypatch.setattr(instances, "_BLOCK_ENTRIES", block)
    monkeypatch.setattr(neighbours, "_TILE", block)
    generator = np.random.default_rng(count + k)
    texts_of_clusters = make(clusters, generator)
    sides = (
        make(count, generator),
        make(others, generator),
        texts_of_clusters[generator.integers(clusters, size=count)],
        texts_of_clusters[generator.integers(clusters, size=others)],
    )
    pairs = match_instances(*sides, k=k)
    assert np.array_equal(pairs.toarray(), by_sets(*sides, k))
    assert pairs.dtype == np.bool_
    assert pairs.has_sorted_indices
    assert np.diff(pairs.indptr).max() <= k
    from_tensors = match_instances(*(torch.from_numpy(side) for side in sides), k=k)
    assert (pairs != from_tensors).nnz == 0


def test_a_cluster_larger_than_k_gives_its_most_similar_members() -> None:
    """Cut by index, the text list would hold members 0 to 2 and the intersection would be empty."""
    angles = np.linspace(1.5, 0.1, 8)
    others = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    image, text = np.array([[1, 0]], dtype=np.float32), np.array([[0, 1]], dtype=np.float32)
    pairs = match_instances(image, others, text, np.repeat(text, 8, axis=0), k=3)
    assert pairs.indices.tolist() == [5, 6, 7]


def test_one_space_alone_is_not_enough() -> None:
    axes = np.eye(4, dtype=np.float32)
    assert match_instances(axes[:1], axes, axes[1:2], axes, k=1).nnz == 0
    assert match_instances(axes[:1], axes, axes[:1], axes, k=1).indices.tolist() == [0]


def test_rows_without_partner_stay_empty_between_others() -> None:
    axes = np.eye(3, dtype=np.float32)
    pairs = match_instances(axes, axes, axes[[0, 2, 2]], axes, k=1)
    assert pairs.toarray().tolist() == [[True, False, False], [False] * 3, [False, False, True]]


@pytest.mark.parametrize(("count", "others"), [(0, 4), (4, 0), (0, 0)])
def test_an_empty_group_matches_nothing(count: int, others: int) -> None:
    axes = np.eye(4, dtype=np.float32)
    pairs = match_instances(axes[:count], axes[:others], axes[:count], axes[:others], k=3)
    assert pairs.shape == (count, others)
    assert pairs.nnz == 0


def test_wrong_input_is_named() -> None:
    rows = np.ones((3, 4), dtype=np.float32)
    with pytest.raises(InputError, match="k must be at least 1, found 0"):
        match_instances(rows, rows, rows, rows, k=0)
    with pytest.raises(InputError, match=r"one text per image.*3 and 3 images.*\(2, 4\)"):
        match_instances(rows, rows, rows[:2], rows, k=1)
    with pytest.raises(InputError, match="texts of one length"):
        match_instances(rows, rows, rows, rows[:, :2], k=1)


@pytest.mark.parametrize("k", [1, 4, 1000])
def test_mutual_pairs_are_those_that_hold_both_ways(k: int) -> None:
    generator = np.random.default_rng(k)
    sides = [(real(count, generator), exact(count, generator)) for count in (40, 25)]
    (images, texts), (others, other_texts) = sides
    there = match_instances(images, others, texts, other_texts, k=k)
    back = match_instances(others, images, other_texts, texts, k=k)
    both = mutual_pairs(there, back)
    assert both.has_sorted_indices and both.dtype == np.bool_
    expected = {
        (i, j) for i, j in zip(*there.nonzero(), strict=True) if (j, i) in set(zip(*back.nonzero(), strict=True))
    }
    assert set(zip(*both.nonzero(), strict=True)) == expected
    assert k == 1000 or len(expected) < there.nnz
    assert (mutual_pairs(back, there).toarray() == both.toarray().T).all()


def test_consistent_pairs_are_those_that_no_matched_clusters_contradict() -> None:
    """Clusters 0 and 0 are partners, 1 and 1 have none, -1 is an outlier."""
    labels = (np.array([0, 1, -1]), np.array([0, 1, -1]))
    partners = (np.array([0, -1]), np.array([0, -1]))
    pairs = csr_array(np.ones((3, 3), dtype=np.bool_))
    left = consistent_pairs(pairs, labels, partners)
    assert left.toarray().tolist() == [[True, False, True], [False, True, True], [True, True, True]]
    assert left.has_sorted_indices and left.dtype == np.bool_
    back = consistent_pairs(pairs, labels[::-1], partners[::-1])
    assert (back.toarray() == left.toarray().T).all()


def test_without_any_cluster_no_pair_is_contradicted() -> None:
    pairs = csr_array(np.eye(2, 3, dtype=np.bool_))
    nothing = np.empty(0, dtype=np.int64)
    left = consistent_pairs(pairs, (np.full(2, -1), np.full(3, -1)), (nothing, nothing))
    assert (left.toarray() == pairs.toarray()).all()
