"""DBSCAN on a radius graph: the connected components of the core points, and the border rule [field]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components


def dbscan_labels(graph: csr_array, *, min_samples: int = 4) -> NDArray[np.int64]:
    """The labels of scikit-learn's DBSCAN(metric="precomputed"), its numbering included.

    A core point has at least `min_samples` points within the radius, itself included. A border point joins the first
    cluster, by number, that has a core point within its radius.

    Args:
        graph: [N, N] symmetric, an entry for every pair within the radius, no diagonal; its values are not read.
        min_samples: points that make a core point, itself included.

    Returns:
        [N] labels, dense from 0 in the order of each cluster's first core point, -1 = outlier.
    """
    core = np.diff(graph.indptr) + 1 >= min_samples
    cores = np.flatnonzero(core)
    labels = np.full(graph.shape[0], -1, dtype=np.int64)
    if not cores.size:
        return labels
    _, components = connected_components(graph[cores][:, cores], directed=False)
    _, first, component_of = np.unique(components, return_index=True, return_inverse=True)
    labels[cores] = np.argsort(np.argsort(first))[component_of]
    points = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
    reaching = ~core[points] & core[graph.indices]
    # The largest number first, so that the smallest is what stays.
    order = np.argsort(-labels[graph.indices[reaching]], kind="stable")
    labels[points[reaching][order]] = labels[graph.indices[reaching][order]]
    return labels
