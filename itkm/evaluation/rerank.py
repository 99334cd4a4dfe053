"""Re-ranking by k-reciprocal encoding, exact and sparse [Zhong et al., CVPR 2017].

The well-known implementation keeps several dense matrices of (Q + G) x (Q + G). Here the encoding is sparse, the
largest distance of each image comes from one more product, and the final distances are made for a block of queries at
a time.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array
from torch import Tensor

from itkm.errors import InputError
from itkm.evaluation.similarity import Similarity
from itkm.labelling.neighbours import Features, least_cosines, nearest_neighbours, unit_rows
from itkm.labelling.reciprocal import cosines_within, encoding, reciprocal_sets, sums_of_minima

_LEAST_LARGEST = 1e-6
"""Images whose largest distance is smaller are all the same: what remains is float32 noise, not to be blown up."""


def rerank(query: Features, gallery: Features, *, k1: int = 20, k2: int = 6, weight: float = 0.3) -> Similarity:
    """The similarity 1 - (Jaccard distance * (1 - weight) + original distance * weight).

    Both distances are among queries and gallery together. The original one is the squared distance of unit features,
    2 - 2 cos, divided by the image's largest. The encoding weighs the k-reciprocal set, of k1 neighbours *beside
    itself*, by exp(-original distance).

    Args:
        query: [Q, D], normalised here.
        gallery: [G, D] of the same D, normalised here.
        k1: length of the neighbour lists, itself not included; fewer images give all of them.
        k2: neighbours averaged by local query expansion, itself included; 1 = none.
        weight: share of the original distance, 0 to 1.

    Returns:
        (start, stop) of the queries to [stop - start, G] float32, from 0 to 1.

    Raises:
        InputError: features that do not fit or are not finite, or an argument out of range.
    """
    if k1 < 1 or not 1 <= k2 <= k1 + 1 or not 0 <= weight <= 1:
        raise InputError(
            "re-ranking: expected k1 of at least 1, k2 from 1 to k1 + 1 and a weight from 0 to 1, found "
            f"k1 {k1}, k2 {k2}, weight {weight}."
        )
    asking, shown = unit_rows(query), unit_rows(gallery)
    if asking.shape[1] != shown.shape[1]:
        raise InputError(
            f"re-ranking: queries have {asking.shape[1]} values and the gallery {shown.shape[1]}; expected one model "
            "for both."
        )
    if not len(asking) or not len(shown):
        raise InputError(f"re-ranking: {len(asking)} queries and {len(shown)} gallery images; expected some of both.")
    together = torch.cat([asking, shown.to(asking.device)])
    largest = np.maximum(2 - 2 * least_cosines(together).astype(np.float64), _LEAST_LARGEST)
    rows = _encoding(together, largest, k1, k2)
    return _Reranked(together, len(asking), largest, rows, weight)


def _encoding(units: Tensor, largest: NDArray[np.float64], k1: int, k2: int) -> csr_array:
    """[N, N] rows that sum to 1, of all images."""
    neighbours, _ = nearest_neighbours(units, min(k1 + 1, len(units)))
    members = reciprocal_sets(neighbours, round(k1 / 2) + 1)  # round() is banker's, as np.around
    row_of = np.repeat(np.arange(len(units)), np.diff(members.indptr))
    weights = np.exp((2 * cosines_within(units, members).astype(np.float64) - 2) / largest[row_of])
    return encoding(members, weights, neighbours[:, :k2])


class _Reranked:
    """The `Similarity`: holds features and the sparse encoding, and makes a block of it at a time."""

    def __init__(
        self, units: Tensor, queries: int, largest: NDArray[np.float64], rows: csr_array, weight: float
    ) -> None:
        self._asking, self._shown = units[:queries], units[queries:].T
        self._largest, self._weight = largest[:queries], weight
        self._rows, self._columns = rows[:queries], csc_array(rows[queries:])

    def __call__(self, start: int, stop: int) -> NDArray[np.float32]:
        """[stop - start, G]."""
        cosines = (self._asking[start:stop] @ self._shown).cpu().numpy()
        scale = (self._weight / self._largest[start:stop, None]).astype(np.float32)
        similarity = np.asarray(self._weight - (2 - 2 * cosines) * scale, dtype=np.float32)
        rows = self._rows[start:stop]
        begin = self._columns.indptr[rows.indices].astype(np.int64)
        length = self._columns.indptr[rows.indices + 1] - begin
        for first, sums in sums_of_minima(rows, self._columns, begin, length):
            similarity[first : first + len(sums)] += (1 - self._weight) * sums / (2 - sums)
        return similarity
