"""k-reciprocal Jaccard distance, exact and sparse [field: the family of Cluster-Contrast, ADCA, PGM, SDCL].

The peers' code keeps three dense N x N matrices and a Python loop. Only pairs within `eps` matter to what follows, and
they come from sparse products and one pass over the columns of the encoding.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from itkm.errors import InputError
from itkm.labelling.neighbours import Features, nearest_neighbours
from itkm.labelling.reciprocal import Indices, cosines_within, encoding, reciprocal_sets, sums_of_minima

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
    return _close_pairs(_encoding(features, k1, k2), eps)


def _encoding(features: Features, k1: int, k2: int) -> csr_array:
    """[N, N] rows whose sums of minima tell the distance."""
    neighbours, _ = nearest_neighbours(features, k1)
    members = reciprocal_sets(neighbours, min(round(k1 / 2) + 1, k1))  # round() is banker's, as np.around
    weights = np.exp(2 * cosines_within(features, members).astype(np.float64) - 2)
    return encoding(members, weights, neighbours[:, :k2])


def _close_pairs(rows: csr_array, eps: float) -> csr_array:
    """[N, N] Jaccard similarity of the pairs within eps; each row of the encoding sums to 1.

    With m the sum of minima of two rows their similarity is m / (2 - m), so 1 - eps needs m = 2 (1 - eps) / (2 - eps).
    """
    least = 2 * (1 - eps) / (2 - eps) - _ROUNDING
    first, second, sums = (np.concatenate(parts) for parts in zip(*_sums_that_reach(rows, least), strict=True))
    similarity = np.minimum(sums / (2 - sums), 1)
    upper = csr_array((similarity, (first, second)), shape=rows.shape)
    graph = csr_array(upper + upper.T)
    graph.sort_indices()
    return graph


def _sums_that_reach(rows: csr_array, least: float) -> Iterator[tuple[Indices, Indices, NDArray[np.float64]]]:
    """(i, j, sum of minima of rows i and j) of the pairs i < j that reach `least`, a block of rows at a time.

    Read by columns, the encoding lists for each entry of row i the later rows j that share its column: exactly the
    terms of the sums of i, each pair of rows once.
    """
    columns = csc_array(rows)
    place = np.empty_like(rows.indices)  # of each entry among the columns, where rows ascend too
    place[np.argsort(rows.indices, kind="stable")] = np.arange(rows.nnz, dtype=place.dtype)
    length = columns.indptr[1:][rows.indices] - place - 1
    for start, sums in sums_of_minima(rows, columns, place + 1, length):
        reached = np.flatnonzero(sums >= least)
        first, second = np.divmod(reached, sums.shape[1])
        yield first + start, second, sums.ravel()[reached]
