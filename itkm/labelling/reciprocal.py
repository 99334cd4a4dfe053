"""What k-reciprocal Jaccard distances share, for pseudo-labels and for re-ranking: sets, and sums of minima. Sparse.

Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from itkm.labelling.neighbours import Features, unit_rows
from itkm.progress import progress

Indices = NDArray[np.int64]

_BLOCK_TERMS = 250_000
"""Terms of the sums of minima held at once: few enough for the processor's cache."""

_BLOCK_SUMS = 1_000_000
"""Sums of minima held at once: 8 MB of float64."""


def reciprocal_sets(neighbours: Indices, half: int) -> csr_array:
    """The k-reciprocal set of each item, with the half sets of those members whose half set is mostly common (> 2/3).

    Args:
        neighbours: [N, k] lists among the items themselves, best first, each beginning with itself.
        half: length of the half list.

    Returns:
        [N, N] row i has an entry for every member of the set of i, itself included; sorted indices, no meaning in the
        values.
    """
    full, halves = _mutual(neighbours), _mutual(neighbours[:, :half])
    common = csr_array(csr_array(full @ halves.T).multiply(full))
    sizes = np.diff(halves.indptr)
    common.data = np.asarray(3 * common.data > 2 * sizes[common.indices], dtype=np.float64)
    common.eliminate_zeros()
    members = csr_array(full + common @ halves)
    members.sort_indices()
    return members


def _mutual(neighbours: Indices) -> csr_array:
    """[N, N] 0/1, row i: those in the list of i that have i in their own list."""
    lists = lists_to_matrix(neighbours)
    return csr_array(lists.multiply(lists.T))


def lists_to_matrix(neighbours: Indices) -> csr_array:
    """[N, N] 0/1, row i: the list of i, of [N, k]."""
    count, k = neighbours.shape
    # Sorted in a copy: sort_indices() would sort the caller's lists in place and lose their order.
    starts = np.arange(0, count * k + 1, k)
    return csr_array((np.ones(count * k), np.sort(neighbours, axis=1).ravel(), starts), shape=(count, count))


def cosines_within(features: Features, members: csr_array) -> NDArray[np.float32]:
    """Cosine of row and column of each stored entry of [N, N], in their order."""
    units = unit_rows(features).cpu().numpy()
    cosines = np.empty(members.nnz, dtype=np.float32)
    # One small product a row: measured 4 times faster than gathering both sides of all pairs.
    edges = progress(pairwise(members.indptr), total=members.shape[0], title="cosines")
    for row, (start, stop) in enumerate(edges):
        cosines[start:stop] = units[members.indices[start:stop]] @ units[row]
    return cosines


def encoding(members: csr_array, weights: NDArray[np.float64], neighbours: Indices) -> csr_array:
    """The rows whose sums of minima tell the Jaccard distance.

    Args:
        members: [N, N] the sets, none of them empty.
        weights: [nnz] of their entries; normalised here to a sum of 1 a row.
        neighbours: [N, k2] the lists over which local query expansion takes the mean.

    Returns:
        [N, N] with sorted indices, rows that sum to 1.
    """
    weights = weights / np.repeat(np.add.reduceat(weights, members.indptr[:-1]), np.diff(members.indptr))
    rows = csr_array((weights, members.indices, members.indptr), shape=members.shape)
    expanded = csr_array(lists_to_matrix(neighbours) @ rows)
    expanded.sort_indices()
    expanded.data /= neighbours.shape[1]
    return expanded


def sums_of_minima(
    rows: csr_array, columns: csc_array, begin: NDArray[np.integer], length: NDArray[np.integer]
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """For each row and each of M others the sum of min(entry of the row, entry of the other), a block at a time.

    Args:
        rows: [R, C] the rows.
        columns: [M, C] the others, whose columns list for an entry of a row its partners.
        begin: [nnz of rows] of each entry, where in `columns` the partners begin that count.
        length: [nnz of rows] how many.

    Yields:
        The first row of a block, and [b, M] its sums.
    """
    others = columns.shape[0]
    terms = np.zeros(rows.nnz + 1, dtype=np.int64)
    np.cumsum(length, out=terms[1:])
    terms = terms[rows.indptr]
    start = 0
    while start < rows.shape[0]:
        stop = int(np.searchsorted(terms, terms[start] + _BLOCK_TERMS, side="right")) - 1
        stop = min(max(stop, start + 1), start + max(1, _BLOCK_SUMS // others), rows.shape[0])
        entries = slice(rows.indptr[start], rows.indptr[stop])
        first_cell = np.repeat(others * np.arange(stop - start), np.diff(rows.indptr[start : stop + 1]))
        repeats = length[entries]
        shift = begin[entries] - (np.cumsum(repeats) - repeats)
        term = np.arange(repeats.sum()) + np.repeat(shift, repeats)
        minima = np.minimum(columns.data[term], np.repeat(rows.data[entries], repeats))
        cells = columns.indices[term] + np.repeat(first_cell, repeats)
        sums = np.asarray(np.bincount(cells, minima, (stop - start) * others), dtype=np.float64)
        yield start, sums.reshape(stop - start, others)
        start = stop
