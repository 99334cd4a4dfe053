"""k-reciprocal Jaccard distance, exact and sparse [field: the family of Cluster-Contrast, ADCA, PGM, SDCL].

The peers' code keeps three dense N x N matrices and a Python loop. Only pairs within `eps` matter to what follows, and
they come from sparse products and one pass over the columns of the encoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from itkm.errors import InputError
from itkm.labelling.neighbours import Features, nearest_neighbours, unit_rows

Indices = NDArray[np.int64]

_BLOCK_TERMS = 500_000
"""Terms of the sums of minima held at once: few enough for the processor's cache."""

_BLOCK_SUMS = 2_000_000
"""Sums of minima held at once: 16 MB of float64."""

_ROUNDING = 1e-6
"""Pairs that lie exactly on the radius (frequent among duplicates) must not be decided by float32 noise. [ours]"""


def jaccard_graph(features: Features, *, k1: int = 30, k2: int = 6, eps: float = 0.6) -> csr_array:
    """The graph of all pairs with k-reciprocal Jaccard distance <= eps.

    Definitions of the unsupervised family: k1 neighbours *including itself*, half list of around(k1 / 2) + 1 with
    banker's rounding, expansion where more than 2/3 of a half list is common, weights softmax(-(2 - 2 cos)) over the
    expanded set, mean over k2 neighbours.

    Args:
        features: [N, D], normalised here.
        k1: length of the neighbour lists, itself included.
        k2: neighbours averaged by local query expansion, itself included; 1 = none.
        eps: largest distance kept, in (0, 1).

    Returns:
        [N, N] symmetric csr_array of float64 with sorted indices and no diagonal. It stores the *similarity*
        1 - distance, which is at least 1 - eps > 0: an explicit zero, the distance of duplicates, would be lost on the
        first sparse operation.

    Raises:
        InputError: an argument out of range.
    """
    if not 0 < eps < 1:
        raise InputError(f"eps must lie between 0 and 1, both excluded, found {eps}: Jaccard distances end at 1.")
    if not 1 <= k2 <= k1:
        raise InputError(f"k2 must be 1 to k1 ({k1}), found {k2}: query expansion averages over the first of k1.")
    neighbours, _ = nearest_neighbours(features, k1)
    expanded = csr_array(_lists_to_matrix(neighbours[:, :k2]) @ _encoding(features, neighbours))
    expanded.sort_indices()
    expanded.data /= k2
    return _close_pairs(expanded, eps)


def _encoding(features: Features, neighbours: Indices) -> csr_array:
    """[N, N] row i: softmax of -(2 - 2 cos) over the expanded k-reciprocal set of i."""
    half = min(round(neighbours.shape[1] / 2) + 1, neighbours.shape[1])  # round() is banker's, as np.around
    reciprocal = _reciprocal_sets(neighbours)
    half_sets = _reciprocal_sets(neighbours[:, :half])
    members = _expanded_sets(reciprocal, half_sets)
    weights = np.exp(2 * _cosines_within(features, members).astype(np.float64) - 2)
    sums = np.add.reduceat(weights, members.indptr[:-1])  # no set is empty: everyone is its own reciprocal neighbour
    weights /= np.repeat(sums, np.diff(members.indptr))
    return csr_array((weights, members.indices, members.indptr), shape=members.shape)


def _reciprocal_sets(neighbours: Indices) -> csr_array:
    """[N, N] 0/1, row i: those in the list of i that have i in their own list."""
    lists = _lists_to_matrix(neighbours)
    return csr_array(lists.multiply(lists.T))


def _expanded_sets(reciprocal: csr_array, half_sets: csr_array) -> csr_array:
    """[N, N] the k-reciprocal sets with the half sets of those members whose half set is mostly common (> 2/3)."""
    common = csr_array(csr_array(reciprocal @ half_sets.T).multiply(reciprocal))
    sizes = np.diff(half_sets.indptr)
    common.data = np.asarray(3 * common.data > 2 * sizes[common.indices], dtype=np.float64)
    common.eliminate_zeros()
    members = csr_array(reciprocal + common @ half_sets)
    members.sort_indices()
    return members


def _lists_to_matrix(neighbours: Indices) -> csr_array:
    """[N, N] 0/1, row i: the list of i."""
    count, k = neighbours.shape
    # Sorted in a copy: sort_indices() would sort the caller's lists in place and lose their order.
    starts = np.arange(0, count * k + 1, k)
    return csr_array((np.ones(count * k), np.sort(neighbours, axis=1).ravel(), starts), shape=(count, count))


def _cosines_within(features: Features, members: csr_array) -> NDArray[np.float32]:
    """Cosine of row and column of each stored entry of [N, N], in their order."""
    units = unit_rows(features).cpu().numpy()
    cosines = np.empty(members.nnz, dtype=np.float32)
    # One small product a row: measured 4 times faster than gathering both sides of all pairs.
    for row, (start, stop) in enumerate(pairwise(members.indptr)):
        cosines[start:stop] = units[members.indices[start:stop]] @ units[row]
    return cosines


def _close_pairs(encoding: csr_array, eps: float) -> csr_array:
    """[N, N] Jaccard similarity of the pairs within eps; each row of the encoding sums to 1.

    With m the sum of minima of two rows their similarity is m / (2 - m), so 1 - eps needs m = 2 (1 - eps) / (2 - eps).
    """
    least = 2 * (1 - eps) / (2 - eps) - _ROUNDING
    rows, columns, sums = (np.concatenate(parts) for parts in zip(*_sums_of_minima(encoding, least), strict=True))
    similarity = np.minimum(sums / (2 - sums), 1)
    upper = csr_array((similarity, (rows, columns)), shape=encoding.shape)
    graph = csr_array(upper + upper.T)
    graph.sort_indices()
    return graph


def _sums_of_minima(encoding: csr_array, least: float) -> Iterator[tuple[Indices, Indices, NDArray[np.float64]]]:
    """(i, j, sum of minima of rows i and j) of the pairs i < j that reach `least`, a block of rows at a time.

    Read by columns, the encoding lists for each entry of row i the later rows j that share its column: exactly the
    terms of the sums of i, each pair of rows once.
    """
    count = encoding.shape[0]
    by_column = np.argsort(encoding.indices, kind="stable")
    later = np.empty_like(by_column)  # of each entry, where the rest of its column begins
    later[by_column] = np.arange(1, len(by_column) + 1)
    column_ends = np.cumsum(np.bincount(encoding.indices, minlength=count))
    lengths = column_ends[encoding.indices] - later
    row_of = np.repeat(np.arange(count), np.diff(encoding.indptr))
    rows, values = row_of[by_column], encoding.data[by_column]
    terms = np.concatenate([[0], np.cumsum(lengths)])[encoding.indptr]
    start = 0
    while start < count:
        stop = int(np.searchsorted(terms, terms[start] + _BLOCK_TERMS, side="right")) - 1
        stop = min(max(stop, start + 1), start + max(1, _BLOCK_SUMS // count), count)
        entries = slice(encoding.indptr[start], encoding.indptr[stop])
        length = lengths[entries]
        shift = later[entries] - (np.cumsum(length) - length)
        term = np.arange(length.sum()) + np.repeat(shift, length)
        minima = np.minimum(values[term], np.repeat(encoding.data[entries], length))
        sums = np.bincount(
            rows[term] + np.repeat((row_of[entries] - start) * count, length), minima, (stop - start) * count
        )
        reached = np.flatnonzero(sums >= least)
        yield reached // count + start, reached % count, sums[reached].astype(np.float64)
        start = stop
