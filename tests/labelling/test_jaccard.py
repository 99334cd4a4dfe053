from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.cluster import DBSCAN

from itkm.errors import InputError
from itkm.labelling import reciprocal
from itkm.labelling.dbscan import dbscan_labels
from itkm.labelling.jaccard import jaccard_graph

Maker = Callable[[int, int], np.ndarray]
Textbook = Callable[[np.ndarray, int, int], np.ndarray]
ROUNDING = 1e-6


def pairs_within(distances: np.ndarray, eps: float) -> np.ndarray:
    close = distances <= eps + ROUNDING
    np.fill_diagonal(close, False)
    return close


def dense_distances(graph: csr_array) -> np.ndarray:
    """1 where the graph has no entry."""
    distances: np.ndarray = 1 - graph.toarray()
    return distances


@pytest.mark.parametrize(
    ("count", "k1", "k2", "eps"),
    [(50, 20, 6, 0.6), (50, 50, 50, 0.9), (130, 9, 3, 0.4), (130, 5, 1, 0.7), (300, 30, 6, 0.6), (40, 1, 1, 0.5)],
)
def test_same_pairs_distances_and_clusters_as_the_textbook(
    make: Maker, textbook: Textbook, count: int, k1: int, k2: int, eps: float
) -> None:
    features = make(count, count + k1)
    expected = textbook(features, k1, k2)
    graph = jaccard_graph(features.astype(np.float32), k1=k1, k2=k2, eps=eps)
    close = pairs_within(expected, eps)
    assert np.array_equal(graph.toarray() > 0, close)
    assert np.abs(dense_distances(graph)[close] - expected[close]).max(initial=0) < 1e-5
    theirs = DBSCAN(eps=eps + ROUNDING, min_samples=4, metric="precomputed").fit_predict(expected)
    assert np.array_equal(dbscan_labels(graph, min_samples=4), theirs)


def test_same_at_six_hundred_with_outliers_and_several_clusters(make: Maker, textbook: Textbook) -> None:
    features = make(600, 7)
    expected = textbook(features, 20, 6)
    labels = dbscan_labels(jaccard_graph(features.astype(np.float32), k1=20, k2=6, eps=0.5), min_samples=4)
    theirs = DBSCAN(eps=0.5 + ROUNDING, min_samples=4, metric="precomputed").fit_predict(expected)
    assert np.array_equal(labels, theirs)
    assert labels.min() == -1


@pytest.mark.parametrize(("flipped", "least", "most"), [(0.1, 0.0, 0.05), (0.4, 0.5, 1.0)], ids=["trained", "early"])
@pytest.mark.parametrize("count", [300, 3000])
def test_same_pairs_and_clusters_at_the_defaults_up_to_three_thousand(
    coded_features: Callable[..., np.ndarray], textbook: Textbook, count: int, flipped: float, least: float, most: float
) -> None:
    features = coded_features(count, seed=count, flipped=flipped)
    expected = textbook(features, 30, 6)
    graph = jaccard_graph(features.astype(np.float32))
    close = pairs_within(expected, 0.6)
    assert np.array_equal(graph.toarray() > 0, close)
    assert np.abs(dense_distances(graph)[close] - expected[close]).max(initial=0) < 1e-5
    theirs = DBSCAN(eps=0.6 + ROUNDING, min_samples=4, metric="precomputed").fit_predict(expected)
    assert np.array_equal(dbscan_labels(graph, min_samples=4), theirs)
    assert least <= (theirs < 0).mean() <= most


def test_the_clustered_features_do_have_clusters_outliers_and_border_points(
    clustered_features: Maker, textbook: Textbook
) -> None:
    """Otherwise the comparisons above would compare nothing."""
    expected = textbook(clustered_features(600, 7), 20, 6)
    model = DBSCAN(eps=0.5, min_samples=4, metric="precomputed").fit(expected)
    border = (model.labels_ >= 0) & ~np.isin(np.arange(600), model.core_sample_indices_)
    assert model.labels_.max() >= 5
    assert (model.labels_ < 0).any()
    assert border.any()


def test_the_graph_is_symmetric_sorted_and_without_diagonal(make: Maker) -> None:
    graph = jaccard_graph(make(200, 3).astype(np.float32), k1=15, k2=4, eps=0.6)
    assert graph.has_sorted_indices
    assert graph.has_canonical_format
    assert (graph != graph.T).nnz == 0
    assert not graph.diagonal().any()
    assert graph.data.min(initial=1) >= 1 - 0.6 - ROUNDING
    assert graph.data.max(initial=0) <= 1


def test_duplicates_are_at_distance_zero_and_survive_as_entries() -> None:
    features = np.repeat(np.eye(10, dtype=np.float32), 6, axis=0)
    graph = jaccard_graph(features, k1=6, k2=3, eps=0.6)
    assert graph.nnz == 10 * 6 * 5
    assert np.allclose(graph.data, 1)


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch, make: Maker) -> None:
    features = make(150, 5).astype(np.float32)
    whole = jaccard_graph(features, k1=12, k2=4, eps=0.7)
    monkeypatch.setattr(reciprocal, "_BLOCK_TERMS", 1)
    monkeypatch.setattr(reciprocal, "_BLOCK_SUMS", 450)
    assert (jaccard_graph(features, k1=12, k2=4, eps=0.7) != whole).nnz == 0


def test_the_scale_of_a_feature_does_not_matter() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(80, 16)).astype(np.float32)
    scaled = features * 2.0 ** generator.integers(-3, 4, size=(80, 1)).astype(np.float32)
    assert (jaccard_graph(features, k1=10, k2=3) != jaccard_graph(scaled, k1=10, k2=3)).nnz == 0


@pytest.mark.parametrize("eps", [0.0, 1.0, -0.1, float("nan")])
def test_eps_out_of_range_is_named(eps: float) -> None:
    with pytest.raises(InputError, match="eps must lie between 0 and 1"):
        jaccard_graph(np.eye(5, dtype=np.float32), k1=3, k2=2, eps=eps)


def test_k2_beyond_k1_is_named() -> None:
    with pytest.raises(InputError, match=r"k2 must be 1 to k1 \(3\), found 4"):
        jaccard_graph(np.eye(5, dtype=np.float32), k1=3, k2=4)
