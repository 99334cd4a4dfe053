"""Hidden-label diagnostics of clusters and of the matching between two groups. Never used by training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from itkm.errors import InputError

Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Group:
    """One group of a scenario with its hidden labels.

    Attributes:
        labels: [N] pseudo-labels, -1 = outlier.
        persons: [N] identities, -1 = unknown.
    """

    labels: Labels
    persons: Labels


def cluster_quality(labels: Labels, persons: Labels | None) -> dict[str, float]:
    """How well pseudo-labels agree with identities.

    Args:
        labels: [N] pseudo-labels, -1 = outlier.
        persons: [N] identities, -1 = unknown; None where nobody knows any.

    Returns:
        `clusters` (their number) and `outliers` (their share); with identities also `purity` (share of instances that
        have the majority identity of their cluster), `nmi` (arithmetic mean) and `ari`, over the instances of known
        persons that are in a cluster; NaN where there is none.

    Raises:
        InputError: lengths that differ.
    """
    quality = {
        "clusters": float(len(np.unique(labels[labels >= 0]))),
        "outliers": float((labels < 0).mean()) if len(labels) else 0.0,
    }
    if persons is None:
        return quality
    if len(persons) != len(labels):
        raise InputError(f"cluster quality: expected one person per label ({len(labels)}), found {len(persons)}.")
    judged = (labels >= 0) & (persons >= 0)
    if not judged.any():
        return {**quality, "purity": float("nan"), "nmi": float("nan"), "ari": float("nan")}
    majority = majority_persons(labels, persons)
    return {
        **quality,
        "purity": float((majority[labels[judged]] == persons[judged]).mean()),
        "nmi": _normalised_mutual_information(labels[judged], persons[judged]),
        "ari": _adjusted_rand_index(labels[judged], persons[judged]),
    }


def majority_persons(labels: Labels, persons: Labels) -> Labels:
    """[C] the most frequent known identity of each cluster, the smallest at a tie, -1 where none is known."""
    majority = np.full(int(labels.max(initial=-1)) + 1, -1, dtype=np.int64)
    judged = (labels >= 0) & (persons >= 0)
    pairs, counts = np.unique(np.stack([labels[judged], persons[judged]]), axis=1, return_counts=True)
    # The last write wins: rising counts, and falling identities among equal counts.
    order = np.lexsort((-pairs[1], counts))
    majority[pairs[0, order]] = pairs[1, order]
    return majority


def cluster_match_quality(
    group_a: Group, group_b: Group, *, partners_a: Labels, partners_b: Labels
) -> dict[str, float]:
    """Precision and recall of CHM.

    Args:
        group_a: pseudo-labels and identities of the first group.
        group_b: those of the second.
        partners_a: [A] partner of each cluster of the first group, -1 = none.
        partners_b: [B] partner of each cluster of the second.

    Returns:
        `pairs`: number of distinct cluster pairs; `precision`: share of those whose majority identities agree;
        `recall`: share of the identities that lead a cluster in both groups which such a pair joins. NaN where there is
        nothing to count.

    Raises:
        InputError: partners that do not fit the labels.
    """
    majority_a = majority_persons(group_a.labels, group_a.persons)
    majority_b = majority_persons(group_b.labels, group_b.persons)
    if (len(partners_a), len(partners_b)) != (len(majority_a), len(majority_b)):
        raise InputError(
            f"match quality: expected partners of {len(majority_a)} and {len(majority_b)} clusters, found "
            f"{len(partners_a)} and {len(partners_b)}. Labels and partners must come from the same epoch."
        )
    forth = np.stack([np.arange(len(partners_a)), partners_a], axis=1)[partners_a >= 0]
    back = np.stack([partners_b, np.arange(len(partners_b))], axis=1)[partners_b >= 0]
    pairs = np.unique(np.concatenate([forth, back]), axis=0)
    joined_a, joined_b = majority_a[pairs[:, 0]], majority_b[pairs[:, 1]]
    judged = (joined_a >= 0) & (joined_b >= 0)
    right = judged & (joined_a == joined_b)
    common = np.intersect1d(majority_a[majority_a >= 0], majority_b[majority_b >= 0])
    return {
        "pairs": float(len(pairs)),
        "precision": _share(right.sum(), judged.sum()),
        "recall": _share(len(np.unique(joined_a[right])), len(common)),
    }


def instance_match_quality(pairs: csr_array, persons_a: Labels, persons_b: Labels) -> dict[str, float]:
    """Precision and recall of IHM.

    Args:
        pairs: [N, M] boolean, the instances of the other group that each instance is matched with.
        persons_a: [N] identities of the first group, -1 = unknown.
        persons_b: [M] identities of the second.

    Returns:
        `pairs`: their number; `precision`: share of them that show one person; `recall`: share of all cross-group pairs
        of one person that were found. Pairs with an unknown person are not judged; NaN where there is nothing to count.

    Raises:
        InputError: a shape that does not fit.
    """
    if pairs.shape != (len(persons_a), len(persons_b)):
        raise InputError(
            f"match quality: expected pairs of shape {(len(persons_a), len(persons_b))}, found {pairs.shape}."
        )
    rows, columns = pairs.nonzero()
    judged = (persons_a[rows] >= 0) & (persons_b[columns] >= 0)
    right = judged & (persons_a[rows] == persons_b[columns])
    identities, counts_a = np.unique(persons_a[persons_a >= 0], return_counts=True)
    true_pairs = sum(
        int(count) * int((persons_b == person).sum()) for person, count in zip(identities, counts_a, strict=True)
    )
    return {
        "pairs": float(len(rows)),
        "precision": _share(right.sum(), judged.sum()),
        "recall": _share(right.sum(), true_pairs),
    }


def _normalised_mutual_information(first: Labels, second: Labels) -> float:
    """Mutual information over the arithmetic mean of the entropies, as scikit-learn; 1 where both are one class."""
    entropies = [_entropy(np.unique(labels, return_counts=True)[1]) for labels in (first, second)]
    joint = _entropy(np.unique(np.stack([first, second]), axis=1, return_counts=True)[1])
    mean = sum(entropies) / 2
    return max(0.0, sum(entropies) - joint) / mean if mean > 0 else 1.0


def _entropy(counts: Labels) -> float:
    """Entropy in nats of a distribution given by counts."""
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _adjusted_rand_index(first: Labels, second: Labels) -> float:
    """Agreement over pairs, corrected for chance, as scikit-learn; 1 where both partitions are trivial and equal."""
    pairs_first, pairs_second, pairs_both = (
        sum(int(n) * (int(n) - 1) // 2 for n in np.unique(labels, axis=-1, return_counts=True)[1])
        for labels in (first, second, np.stack([first, second]))
    )
    expected = pairs_first * pairs_second / max(1, len(first) * (len(first) - 1) // 2)
    largest = (pairs_first + pairs_second) / 2
    return (pairs_both - expected) / (largest - expected) if largest != expected else 1.0


def _share(part: int | np.integer, whole: int | np.integer) -> float:
    """A fraction; NaN of nothing."""
    return float(part) / float(whole) if whole else float("nan")
