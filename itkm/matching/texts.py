"""DRU: text representations that follow the newest pseudo-labels.

The offline texts belong to the clusters of Stage II; Stage III clusters anew every epoch. Without this update the
two disagree. [paper: cluster- and instance-level texts follow the newest pseudo-labels; the formulas are ours]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from itkm.errors import InputError
from itkm.labelling.units import to_units

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


def instance_texts(clusters_stage2: Labels, offline_texts: Floats, projected: Floats) -> Floats:
    """The text of each instance: that of its Stage-II cluster [ours].

    A Stage-II outlier has no text of its own and takes the one nearest to its image, by cosine in the text space.

    Args:
        clusters_stage2: [N] cluster of each instance in Stage II, -1 = outlier.
        offline_texts: [C, E] one text per Stage-II cluster, any norm.
        projected: [N, E] image features in the text space, any norm.

    Returns:
        [N, E] unit vectors; members of one cluster share the very same values.

    Raises:
        InputError: shapes that do not fit, or a cluster without a text.
    """
    if offline_texts.ndim != 2 or len(offline_texts) == 0:
        raise InputError(
            f"offline texts: expected at least one row [C, E], found shape {offline_texts.shape}. "
            "Run the stage `prompts` on labels that hold at least one cluster."
        )
    if projected.shape != (len(clusters_stage2), offline_texts.shape[1]):
        raise InputError(
            f"projected features: expected shape {(len(clusters_stage2), offline_texts.shape[1])}, one row per "
            f"Stage-II label in the space of the texts, found {projected.shape}."
        )
    if len(clusters_stage2) and (clusters_stage2.max() >= len(offline_texts) or clusters_stage2.min() < -1):
        raise InputError(
            f"Stage-II labels: expected -1 to {len(offline_texts) - 1} for {len(offline_texts)} offline texts, found "
            f"{clusters_stage2.min()} to {clusters_stage2.max()}. Texts and labels must come from the same run."
        )
    texts = to_units(offline_texts)
    chosen = clusters_stage2.copy()
    outliers = np.flatnonzero(chosen < 0)
    # The scale of an image feature does not move its argmax, so only the texts need unit norm.
    chosen[outliers] = (np.asarray(projected[outliers], dtype=np.float32) @ texts.T).argmax(axis=1)
    return texts[chosen]


def cluster_texts(texts: Floats, labels: Labels) -> Floats:
    """The text of each new cluster: the normalised mean of its members' instance texts [ours].

    Args:
        texts: [N, E] instance texts.
        labels: [N] the newest pseudo-labels, dense from 0, -1 = outlier (belongs to no mean).

    Returns:
        [C, E] unit vectors, row c for label c.

    Raises:
        InputError: lengths that differ, or labels that are not dense.
    """
    if len(texts) != len(labels):
        raise InputError(f"instance texts: expected one row per label ({len(labels)}), found {len(texts)}.")
    kept = labels >= 0
    sizes = np.bincount(labels[kept])
    if (sizes == 0).any():
        raise InputError(
            f"pseudo-labels: expected every number from 0 to {len(sizes) - 1}, but {int(sizes.argmin())} is missing. "
            "Make the labels dense after outliers are dropped."
        )
    sums = np.zeros((len(sizes), texts.shape[1]), dtype=np.float64)
    np.add.at(sums, labels[kept], texts[kept])
    return to_units(sums)
