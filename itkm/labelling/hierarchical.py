"""HDBSCAN on the sparse Jaccard graph, by the minimum spanning tree of its mutual reachability."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

_LEAST_DISTANCE = 1e-6
"""Stands for 0, the distance of duplicates: an explicit 0 would be lost in a sparse matrix, and has no inverse."""


_APART = 1.0
"""The largest Jaccard distance: that of every pair without an entry in the graph."""


def hdbscan_labels(graph: csr_array, *, min_samples: int, min_cluster_size: int) -> NDArray[np.int64]:
    """The labels of HDBSCAN where every pair that is not in the graph has the largest Jaccard distance, 1.

    `hdbscan` computes mutual reachability of a sparse matrix in a Python loop and refuses one that is not connected. So
    both are done here, and it receives a spanning tree, on which its own min_samples = 1 changes nothing.

    Args:
        graph: [N, N] symmetric Jaccard *similarity* as `jaccard_graph` gives it, no diagonal.
        min_samples: a point's core distance is that to its `min_samples`-th neighbour, itself not counted (the
            convention of `hdbscan`; DBSCAN counts the point itself).
        min_cluster_size: points that make a cluster, at least 2.

    Returns:
        [N] labels, dense from 0, -1 = outlier.
    """
    from hdbscan import HDBSCAN

    tree = _connected(_reachability_forest(graph, min_samples), min_cluster_size)
    clusterer = HDBSCAN(metric="precomputed", min_samples=1, min_cluster_size=min_cluster_size)
    return np.asarray(clusterer.fit_predict(tree), dtype=np.int64)


def _reachability_forest(graph: csr_array, min_samples: int) -> csr_array:
    """[N, N] upper half of the minimum spanning forest of max(distance, core distances of both ends) below 1."""
    degrees = np.diff(graph.indptr)
    rows = np.repeat(np.arange(graph.shape[0]), degrees)
    distances = np.maximum(1 - graph.data, _LEAST_DISTANCE)
    ordered = distances[np.lexsort((distances, rows))]
    core = np.full(graph.shape[0], _APART)
    enough = degrees >= min_samples
    core[enough] = ordered[graph.indptr[:-1][enough] + min_samples - 1]
    reach = np.maximum(distances, np.maximum(core[rows], core[graph.indices]))
    near = reach < _APART
    edges = csr_array((reach[near], (rows[near], graph.indices[near])), shape=graph.shape)
    return csr_array(minimum_spanning_tree(edges))


def _connected(forest: csr_array, min_cluster_size: int) -> csr_array:
    """[N, N] symmetric float64: the forest as one tree, its parts chained from the largest to the smallest.

    All parts are equally far apart, and HDBSCAN would count a stray to the cluster that such a tie happens to hang it
    on. So parts that are no cluster hang farther: they fall off first, as outliers. [ours]
    """
    _, parts = connected_components(forest, directed=False)
    _, members, sizes = np.unique(parts, return_index=True, return_counts=True)
    order = np.argsort(-sizes, kind="stable")
    members, sizes = members[order], sizes[order]
    links = np.where(sizes[1:] >= min_cluster_size, _APART, 2 * _APART)
    tree = forest + csr_array((links, (members[:-1], members[1:])), shape=forest.shape)
    return csr_array(tree + tree.T, dtype=np.float64)
