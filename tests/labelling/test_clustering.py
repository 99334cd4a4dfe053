from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.cluster import DBSCAN
from sklearn.metrics import adjusted_rand_score

from itkm.labelling.dbscan import dbscan_labels
from itkm.labelling.hierarchical import hdbscan_labels
from itkm.labelling.jaccard import jaccard_graph


def random_graph(count: int, share: float, seed: int) -> csr_array:
    """Symmetric, no diagonal."""
    upper = np.triu(np.random.default_rng(seed).random((count, count)) < share, 1)
    return csr_array((upper | upper.T).astype(np.float64))


def as_graph(edges: list[tuple[int, int]], count: int) -> csr_array:
    dense = np.zeros((count, count))
    for i, j in edges:
        dense[i, j] = dense[j, i] = 0.5
    return csr_array(dense)


@pytest.mark.parametrize("share", [0.0, 0.005, 0.02, 0.05, 0.3])
@pytest.mark.parametrize("min_samples", [1, 2, 4, 7])
def test_dbscan_equals_scikit_learn_number_by_number(share: float, min_samples: int) -> None:
    for seed in range(5):
        graph = random_graph(120, share, seed)
        distances = 1 - graph.toarray()
        np.fill_diagonal(distances, 0)
        expected = DBSCAN(eps=0.5, min_samples=min_samples, metric="precomputed").fit_predict(distances)
        assert np.array_equal(dbscan_labels(graph, min_samples=min_samples), expected)


def test_a_border_point_between_two_clusters_joins_the_first_and_links_them_not() -> None:
    first, second = [1, 2, 3, 4], [5, 6, 7, 8]
    inside = [(i, j) for group in (first, second) for i in group for j in group if i < j]
    labels = dbscan_labels(as_graph([*inside, (0, 1), (0, 5)], count=10), min_samples=4)
    assert labels.tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1, -1]


def test_dbscan_labels_stay_dense_where_the_first_points_are_outliers() -> None:
    cliques = [(i, j) for start in (3, 9, 20) for i in range(start, start + 4) for j in range(i + 1, start + 4)]
    labels = dbscan_labels(as_graph(cliques, count=30), min_samples=4)
    assert np.unique(labels).tolist() == [-1, 0, 1, 2]


def test_hdbscan_equals_the_package_on_the_dense_matrix() -> None:
    from hdbscan import HDBSCAN

    generator = np.random.default_rng(3)
    centres = generator.normal(size=(12, 32))
    features = centres[np.arange(240) % 12] + 0.9 * generator.normal(size=(240, 32))
    graph = jaccard_graph(features.astype(np.float32), k1=20, k2=4, eps=0.8)
    distances = 1 - graph.toarray()
    np.fill_diagonal(distances, 0)
    labels = hdbscan_labels(graph, min_samples=4, min_cluster_size=5)
    expected = HDBSCAN(metric="precomputed", min_samples=4, min_cluster_size=5).fit_predict(distances)
    assert labels.max() == 11
    assert np.array_equal(labels < 0, expected < 0)
    assert adjusted_rand_score(expected, labels) == 1


@pytest.mark.parametrize("min_samples", [1, 2, 5, 9])
@pytest.mark.parametrize("seed", range(3))
def test_hdbscan_counts_neighbours_as_the_package_does(min_samples: int, seed: int) -> None:
    """Overlapping clusters, all pairs in the graph. Ties at a core distance leave a point or two open."""
    from hdbscan import HDBSCAN

    generator = np.random.default_rng(seed)
    points = generator.normal(size=(6, 2))[np.arange(150) % 6] * 3 + generator.normal(size=(150, 2))
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    distances *= 0.9 / distances.max()
    graph = csr_array(1 - distances - np.eye(150))
    labels = hdbscan_labels(graph, min_samples=min_samples, min_cluster_size=5)
    expected = HDBSCAN(metric="precomputed", min_samples=min_samples, min_cluster_size=5).fit_predict(distances)
    assert np.count_nonzero((labels < 0) != (expected < 0)) <= 1
    assert adjusted_rand_score(expected, labels) > 0.95


@pytest.mark.parametrize("seed", range(3))
def test_hdbscan_takes_duplicates_outliers_and_graphs_without_edges(
    make: Callable[[int, int], np.ndarray], seed: int
) -> None:
    graph = jaccard_graph(make(150, seed).astype(np.float32), k1=12, k2=3, eps=0.5)
    labels = hdbscan_labels(graph, min_samples=3, min_cluster_size=3)
    assert len(labels) == 150
    assert np.array_equal(np.unique(labels[labels >= 0]), np.arange(labels.max() + 1))
    assert (hdbscan_labels(csr_array((20, 20)), min_samples=3, min_cluster_size=3) == -1).all()


def test_hdbscan_leaves_strays_outside_whatever_the_ties() -> None:
    """Two cliques, and points without or with too few neighbours: all at distance 1 from everything."""
    cliques = [(i, j) for start in (3, 9) for i in range(start, start + 5) for j in range(i + 1, start + 5)]
    labels = hdbscan_labels(as_graph([*cliques, (0, 3), (1, 2)], count=16), min_samples=3, min_cluster_size=4)
    assert np.flatnonzero(labels < 0).tolist() == [0, 1, 2, 8, 14, 15]
    assert len({tuple(labels[3:8]), tuple(labels[9:14])} & {(0,) * 5, (1,) * 5}) == 2


def test_hdbscan_finds_tight_groups_of_duplicates() -> None:
    features = np.repeat(np.eye(10, dtype=np.float32), 6, axis=0)
    labels = hdbscan_labels(jaccard_graph(features, k1=6, k2=3), min_samples=3, min_cluster_size=4)
    assert adjusted_rand_score(np.repeat(np.arange(10), 6), labels) == 1
