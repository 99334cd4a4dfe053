"""The algorithms as everybody writes them: dense, with loops, and obviously right. What ours is compared with."""

from __future__ import annotations

import numpy as np


def argsort_scores(
    distances: np.ndarray,
    persons: tuple[np.ndarray, np.ndarray],
    cameras: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, float, float]:
    """CMC of ranks 1 to 20, mAP and mINP of distances [Q, G] by the Market-1501 rule, without a loop.

    Args:
        distances: [Q, G].
        persons: identities of queries [Q] and gallery [G]; every query has a valid positive.
        cameras: likewise.
    """
    order = np.argsort(distances, axis=1, kind="stable")
    same = persons[1][order] == persons[0][:, None]
    kept = ~(same & (cameras[1][order] == cameras[0][:, None]))
    hits = same & kept
    ranks = kept.cumsum(axis=1)
    found = hits.cumsum(axis=1)
    positives = found[:, -1]
    precision = (found / np.maximum(ranks, 1) * hits).sum(axis=1) / positives
    first = np.where(hits, ranks, ranks.shape[1] + 1).min(axis=1)
    last = (ranks * hits).max(axis=1)
    cmc = (first[:, None] <= np.arange(1, 21)).mean(axis=0)
    return cmc, float(precision.mean()), float((positives / last).mean())


def nearest(row: np.ndarray, k: int) -> np.ndarray:
    """The k largest of a row, largest first, ties by index."""
    candidates = np.flatnonzero(row >= np.partition(row, -k)[-k])
    return candidates[np.argsort(-row[candidates], kind="stable")][:k]


def cosines_of(features: np.ndarray) -> np.ndarray:
    """[N, N]; a row of zeros has cosine 0 with everything."""
    units = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    cosines: np.ndarray = units @ units.T
    return cosines


def ranked_lists(cosines: np.ndarray, k: int) -> np.ndarray:
    """[N, k] each row's nearest, itself first."""
    itself_first = cosines.copy()
    np.fill_diagonal(itself_first, np.inf)
    return np.array([nearest(row, k) for row in itself_first])


def jaccard_distances(lists: np.ndarray, half: int, similarity: np.ndarray, k2: int) -> np.ndarray:
    """[N, N] k-reciprocal Jaccard distances.

    Args:
        lists: [N, k] each one's nearest, itself first.
        half: length of the half list.
        similarity: [N, N] whose exponentials weigh the members of a set.
        k2: lists averaged by local query expansion.
    """
    count = len(lists)
    full = [reciprocal(lists, i) for i in range(count)]
    halves = [reciprocal(lists[:, :half], i) for i in range(count)]
    encoding = np.zeros_like(similarity)
    for i in range(count):
        members = full[i]
        for j in full[i]:
            if len(np.intersect1d(halves[j], full[i], assume_unique=True)) > 2 / 3 * len(halves[j]):
                members = np.union1d(members, halves[j])
        weights = np.exp(similarity[i, members])
        encoding[i, members] = weights / weights.sum()
    encoding = np.array([encoding[lists[i, :k2]].mean(axis=0) for i in range(count)])
    holders = [np.flatnonzero(encoding[:, j]) for j in range(count)]
    distances = np.empty_like(similarity)
    for i in range(count):
        minima = np.zeros(count, dtype=similarity.dtype)
        for j in np.flatnonzero(encoding[i]):
            minima[holders[j]] += np.minimum(encoding[i, j], encoding[holders[j], j])
        distances[i] = 1 - minima / (2 - minima)
    return np.asarray(np.maximum(distances, 0))


def reciprocal(lists: np.ndarray, i: int) -> np.ndarray:
    """Those in the list of i that have i in their own list."""
    return np.asarray(lists[i][(lists[lists[i]] == i).any(axis=1)])


def labelling_distances(features: np.ndarray, k1: int, k2: int) -> np.ndarray:
    """[N, N] as the unsupervised family labels: lists of k1 with itself, weights softmax(-(2 - 2 cos))."""
    cosines = cosines_of(features)
    lists = ranked_lists(cosines, k1)
    cosines *= 2
    cosines -= 2
    return jaccard_distances(lists, int(np.around(k1 / 2)) + 1, cosines, k2)


def reranked_distances(query: np.ndarray, gallery: np.ndarray, k1: int, k2: int, weight: float) -> np.ndarray:
    """[Q, G] as Zhong et al. re-rank: lists of k1 beside itself, squared distances divided by the largest."""
    cosines = cosines_of(np.concatenate([query, gallery]))
    original = 2 - 2 * cosines
    original /= original.max(axis=1, keepdims=True)
    lists = ranked_lists(cosines, min(k1 + 1, len(cosines)))
    jaccard = jaccard_distances(lists, int(np.around(k1 / 2)) + 1, -original, k2)
    mixed: np.ndarray = (1 - weight) * jaccard + weight * original
    return mixed[: len(query), len(query) :]
