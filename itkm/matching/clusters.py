"""CHM: cluster-level heterogeneous matching between the two groups of one scenario, by graph matching [paper]."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from itkm.errors import InputError
from itkm.labelling.units import to_units

Floats = NDArray[np.float32]
Partners = NDArray[np.int64]
Pairs = Literal["progressive", "hungarian", "mutual", "transport"]

TEMPERATURE = 0.5  # of the transport, in standard deviations of the similarities
ROUNDS = 300  # of the transport: the shares of the clusters are then equal to a hundredth


def cluster_similarity(
    means_a: Floats, means_b: Floats, texts_a: Floats, texts_b: Floats, *, text_weight: float = 1.0
) -> Floats:
    """S_img + w * S_txt: the cosines of the cluster means and of the cluster texts.

    [paper: images and texts decide together; the plain sum is ours]

    Args:
        means_a: [A, D] mean features of the clusters of the first group, any norm.
        means_b: [B, D] those of the second.
        texts_a: [A, E] texts of the clusters of the first group, any norm.
        texts_b: [B, E] those of the second.
        text_weight: w; 0 matches by image alone.

    Returns:
        [A, B] float32, within -(1 + w) and 1 + w.

    Raises:
        InputError: a group whose means and texts differ in number.
    """
    for group, means, texts in (("first", means_a, texts_a), ("second", means_b, texts_b)):
        if len(means) != len(texts):
            raise InputError(
                f"{group} group: {len(means)} cluster means but {len(texts)} cluster texts; expected one text per "
                "cluster. Update the texts after every clustering (DRU)."
            )
    return _cosines(means_a, means_b) + np.float32(text_weight) * _cosines(texts_a, texts_b)


def whitened(means_a: Floats, means_b: Floats, *, share: float) -> tuple[Floats, Floats]:
    """Cluster means in which the cues that differ most between all clusters no longer decide alone. [ours]

    What varies most between persons, their clothes, dominates the cosine, though it may be what changes between the
    groups. So the singular values s of all unit means become s^(1 - share): unchanged cosines at 0, towards 1 equal
    weights.

    Args:
        means_a: [A, D] mean features of the clusters of the first group, any norm.
        means_b: [B, D] those of the second.
        share: 0 to below 1, where noise would weigh as much as anything, and up to D clusters would all be at right
            angles, so that no image told anything.

    Returns:
        [A, K] and [B, K] float32, where K is the smaller of A + B and D.
    """
    means = np.concatenate([to_units(means_a), to_units(means_b)]).astype(np.float64)
    left, singular, _ = np.linalg.svd(means, full_matrices=False)
    scaled = (left * singular ** (1 - share)).astype(np.float32)
    return scaled[: len(means_a)], scaled[len(means_a) :]


def transport_plan(similarity: Floats) -> NDArray[np.float64]:
    """How clusters are carried over to those of the other group, if all of a group have the same share. [ours]

    A cluster that is similar to everything, a hub, is the best partner of many; here it has one share to give, and what
    is left finds its own. Optimal transport with an entropic regulariser, by Sinkhorn's algorithm [field: OTLA carries
    single images over to classes]. Both sides move at once, half of the way: exchanging the groups changes nothing.

    Args:
        similarity: [A, B], neither side empty. Only differences in units of its standard deviation matter.

    Returns:
        [A, B] float64, whose rows sum to 1 / A and whose columns sum to 1 / B.
    """
    spread = float(similarity.std()) or 1.0
    logs = (similarity - similarity.max()).astype(np.float64) / (TEMPERATURE * spread)
    kernel = np.exp(np.maximum(logs, -600))  # float64 ends at e^-700: what is further away is as far
    scale_a, scale_b = (np.full(count, 1 / count) for count in similarity.shape)
    for _ in range(ROUNDS):
        full_a, full_b = (1 / (len(sums) * sums) for sums in (kernel @ scale_b, scale_a @ kernel))
        scale_a, scale_b = np.sqrt(scale_a * full_a), np.sqrt(scale_b * full_b)
    return scale_a[:, None] * kernel * scale_b  # type: ignore[no-any-return]


def match_clusters(similarity: Floats, *, pairs: Pairs = "progressive") -> tuple[Partners, Partners]:
    """The partner of every cluster in the other group.

    The cost of a pair is exp(-similarity); the first round is the Hungarian assignment of the rectangular matrix, so
    every cluster of the smaller group finds a partner. [field: PGM]

    Args:
        similarity: [A, B], any shape, an empty side included.
        pairs: `hungarian` stops after the first round, so a cluster occurs in at most one pair. `progressive` goes on
            with the clusters of the larger group that are left over, against all clusters of the smaller one, until
            every cluster has a partner (PGM's two fixed rounds crash when one group has over twice the clusters of the
            other and match nothing when the first is smaller). `mutual` keeps only the pairs that are each other's
            most similar: fewer and more precise. [ours] `transport` keeps those that are each other's largest share of
            `transport_plan`: more, and hardly less precise. [ours]

    Returns:
        [A] the partner of each cluster of the first group and [B] of the second, -1 where there is none.

    Raises:
        InputError: a similarity that is no matrix, or not finite.
    """
    if similarity.ndim != 2 or not np.isfinite(similarity).all():
        raise InputError(
            f"cluster similarity: expected a matrix [A, B] of finite numbers, found shape {similarity.shape}. "
            "Check the cluster means and texts for NaN."
        )
    partners_a = np.full(similarity.shape[0], -1, dtype=np.int64)
    partners_b = np.full(similarity.shape[1], -1, dtype=np.int64)
    if similarity.size == 0:
        return partners_a, partners_b
    if pairs in ("mutual", "transport"):
        # A single cluster gives all others the same share: which of them is its partner is left to similarity.
        shares = transport_plan(similarity) if pairs == "transport" and min(similarity.shape) > 1 else similarity
        best_a, best_b = shares.argmax(axis=1), shares.argmax(axis=0)
        rows = np.flatnonzero(best_b[best_a] == np.arange(len(best_a)))
        columns = best_a[rows]
    else:
        rows, columns = linear_sum_assignment(np.exp(-similarity.astype(np.float64)))
    partners_a[rows], partners_b[columns] = columns, rows
    if pairs == "progressive":
        # One of the two groups is complete already, so one of these calls returns at once.
        _match_left_over(similarity, partners_a)
        _match_left_over(similarity.T, partners_b)
    return partners_a, partners_b


def _match_left_over(similarity: Floats, partners: Partners) -> None:
    """Gives the rows of [A, B] that have no partner one, in rounds that use each column at most once; in place."""
    while (left := np.flatnonzero(partners < 0)).size:
        rows, columns = linear_sum_assignment(np.exp(-similarity[left].astype(np.float64)))
        partners[left[rows]] = columns


def _cosines(rows_a: Floats, rows_b: Floats) -> Floats:
    """[A, B] float32 cosines; those of a zero row are 0."""
    return np.asarray(to_units(rows_a) @ to_units(rows_b).T, dtype=np.float32)
