"""IHM: instance-level heterogeneous matching, the common neighbours in image and in text space [paper]."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from itkm.errors import InputError
from itkm.labelling.neighbours import nearest_neighbours, unit_rows

Integers = NDArray[np.int64]

_BLOCK_ENTRIES = 4_000_000
"""Similarities held at once: 16 MB of float32, whatever the number of images."""


def match_instances(
    image_a: Tensor | NDArray[np.float32],
    image_b: Tensor | NDArray[np.float32],
    text_a: Tensor | NDArray[np.float32],
    text_b: Tensor | NDArray[np.float32],
    *,
    k: int,
) -> csr_array:
    """P_i = TopK_img(i) intersect TopK_txt(i) over the other group of the same scenario [paper; k = 20 field: SDCL].

    Members of one cluster share one text, so text similarities tie by the dozen. A tie at the k-th place is broken by
    image similarity and then by index: cutting it by index alone would pick arbitrary members of a cluster. [ours]

    Args:
        image_a: [N, D] image features of the asking group, any norm.
        image_b: [M, D] those of the other group.
        text_a: [N, E] instance texts of the asking group, any norm.
        text_b: [M, E] those of the other group.
        k: length of each neighbour list; a group with fewer images gives all of them.

    Returns:
        [N, M] boolean csr_array with sorted indices, True where j is in P_i; at most k entries a row. The relation is
        not symmetric: exchange the arguments for the other direction.

    Raises:
        InputError: shapes that do not fit, or k < 1.
    """
    shape = (len(image_a), len(image_b))
    if k < 1:
        raise InputError(f"instance matching: k must be at least 1, found {k}.")
    if shape != (len(text_a), len(text_b)) or text_a.shape[1:] != text_b.shape[1:]:
        raise InputError(
            f"instance matching: expected one text per image and texts of one length, found {shape[0]} and {shape[1]} "
            f"images with texts of shape {tuple(text_a.shape)} and {tuple(text_b.shape)}."
        )
    if 0 in shape:
        return csr_array(shape, dtype=np.bool_)
    k = min(k, len(image_b))
    neighbours, _ = nearest_neighbours(image_b, k, queries=image_a)
    # Equal texts are compared once: their ties are then exact by construction, and the product is far smaller.
    texts = unit_rows(text_a)
    other_texts = unit_rows(text_b).to(texts.device)
    distinct, which, sizes = torch.unique(other_texts, dim=0, return_inverse=True, return_counts=True)
    common = np.empty(neighbours.shape, dtype=np.bool_)
    size = max(1, _BLOCK_ENTRIES // len(distinct))
    for start in range(0, len(texts), size):
        rows = slice(start, start + size)
        texts_of = which[torch.from_numpy(neighbours[rows]).to(which.device)]
        common[rows] = _within_text_neighbours(texts[rows] @ distinct.T, texts_of, sizes, k).cpu().numpy()
    starts = np.concatenate([[0], common.sum(axis=1).cumsum()])
    columns = neighbours[common]
    pairs = csr_array((np.ones(len(columns), dtype=np.bool_), columns, starts), shape=shape)
    pairs.sort_indices()
    return pairs


def mutual_pairs(pairs: csr_array, opposite: csr_array) -> csr_array:
    """The pairs that hold both ways: j in P_i and i in P_j. Fewer, and more precise. [ours]

    Args:
        pairs: [N, M] boolean, as `match_instances` gives it for one direction.
        opposite: [M, N] for the other.

    Returns:
        [N, M] boolean csr_array with sorted indices.
    """
    both = csr_array(pairs.multiply(opposite.T), dtype=np.bool_)
    both.sort_indices()
    return both


def consistent_pairs(
    pairs: csr_array, labels: tuple[Integers, Integers], partners: tuple[Integers, Integers]
) -> csr_array:
    """The pairs that CHM does not contradict: those left out lie in clusters of which one has another partner. [ours]

    Args:
        pairs: [N, M] boolean.
        labels: [N] and [M] pseudo-labels of the two groups, -1 = outlier, which contradicts nothing.
        partners: [A] and [B] partner of each cluster in the other group, -1 = none, as `match_clusters` gives them.

    Returns:
        [N, M] boolean csr_array with sorted indices.
    """
    row, column = pairs.tocoo().coords
    own = labels[0][row], labels[1][column]
    # Outliers, -1, find the -1 behind the last partner.
    wanted = [np.append(partner, -1)[seen] for partner, seen in zip(partners, own, strict=True)]
    contradicted = [(want >= 0) & (seen >= 0) & (want != seen) for want, seen in zip(wanted, own[::-1], strict=True)]
    kept = ~(contradicted[0] | contradicted[1])
    left = csr_array((np.ones(kept.sum(), dtype=np.bool_), (row[kept], column[kept])), shape=pairs.shape)
    left.sort_indices()
    return left


def padded_rows(pairs: csr_array) -> Integers:
    """The columns of each row's pairs, in order, then -1: int64 [N, k], k the most that a row has; of bool [N, M]."""
    counts = np.diff(pairs.indptr)
    padded = np.full((len(counts), counts.max(initial=0)), -1, dtype=np.int64)
    padded[np.arange(padded.shape[1]) < counts[:, None]] = pairs.indices
    return padded


def _within_text_neighbours(similarity: Tensor, texts_of: Tensor, sizes: Tensor, k: int) -> Tensor:
    """Which image neighbours are also among the k nearest by text, ties by image similarity.

    Args:
        similarity: [b, U] similarity to each distinct text.
        texts_of: [b, k] distinct text of each image neighbour, the most similar image first.
        sizes: [U] number of images that carry each distinct text.
        k: length of the text list; at most the number of images.

    Returns:
        [b, k] boolean.
    """
    values, best = similarity.topk(min(k, similarity.shape[1]), dim=1)
    reached = sizes[best].cumsum(dim=1)
    last = (reached < k).sum(dim=1, keepdim=True)
    threshold = values.gather(1, last)
    above = (sizes[best] * (values > threshold)).sum(dim=1, keepdim=True)
    own = similarity.gather(1, texts_of)
    tied = own == threshold
    # A tied item that is more similar by image also comes earlier in the image list: counting along it is enough.
    return (own > threshold) | (tied & (tied.cumsum(dim=1) <= k - above))
