"""Features to pseudo-labels, the step that opens every epoch of Stages I and III."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from itkm.errors import InputError
from itkm.labelling.dbscan import dbscan_labels
from itkm.labelling.hierarchical import hdbscan_labels
from itkm.labelling.jaccard import jaccard_graph
from itkm.labelling.neighbours import Features
from itkm.labelling.settings import LabellingSettings


def pseudo_labels(features: Features, settings: LabellingSettings) -> NDArray[np.int64]:
    """Clusters the features of one (scenario, group).

    Args:
        features: [N, D], any norm, at least k1, min_samples and 2 rows.
        settings: method and its numbers.

    Returns:
        [N] labels, dense from 0; -1 = outlier, unless outliers become singletons: then they follow the clusters in the
        order of the images.

    Raises:
        InputError: too few features for the settings, features that are not finite, or k2 > k1.
    """
    return labels_of(label_graph(features, settings), settings)


def label_graph(features: Features, settings: LabellingSettings) -> csr_array:
    """The Jaccard graph that `labels_of` clusters, for those who look at it too.

    Args:
        features: as for `pseudo_labels`.
        settings: as for `pseudo_labels`.

    Returns:
        [N, N] similarities as `jaccard_graph` gives them.

    Raises:
        InputError: as `pseudo_labels`.
    """
    count = len(features)
    if count < max(2, settings.k1):
        raise InputError(
            f"pseudo-labels: {count} features, but k1 = {settings.k1} neighbours are asked for; expected at least "
            f"{max(2, settings.k1)}. Lower k1 or use more images."
        )
    if count < settings.min_samples:
        raise InputError(
            f"pseudo-labels: {count} features, but a cluster needs min_samples = {settings.min_samples}. Lower "
            "min_samples or use more images."
        )
    return jaccard_graph(features, k1=settings.k1, k2=settings.k2, eps=settings.eps)


def labels_of(graph: csr_array, settings: LabellingSettings) -> NDArray[np.int64]:
    """The labels [N] of `pseudo_labels`, from its graph [N, N]."""
    if settings.method == "dbscan":
        labels = dbscan_labels(graph, min_samples=settings.min_samples)
    else:
        labels = hdbscan_labels(graph, min_samples=settings.min_samples, min_cluster_size=settings.min_samples)
    if settings.outliers == "singletons":
        outliers = labels < 0
        labels[outliers] = labels.max() + 1 + np.arange(outliers.sum())
    return labels
