"""Exact nearest neighbours by blocked matrix product, on whatever device the features are. Never an N x N matrix.

Among the features themselves each product serves its rows and its columns: measured on one core (D = 768), 1.2 times as
fast as the plain blocked product at N = 10,000 and 1.4 times at 20,000, where faiss needs the same time or a little
more. For queries faiss is 1.3 times as fast as the blocks, and answers where it is installed and its import pays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from itertools import combinations_with_replacement, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from itkm.errors import InputError
from itkm.progress import progress

Features = Tensor | NDArray[np.float32]

_TILE = 1_024
"""Rows and columns of the similarities held at once, or up to twice as many: 4 to 16 MB of float32.

Twice the tile needs twice the memory and is no faster, at N = 10,000 as at 20,000.
"""

_FAISS_PAYS = 50_000_000
"""Similarities of queries from which on faiss saves more time than its import takes, a third of a second."""


def nearest_neighbours(
    features: Features, k: int, *, queries: Features | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k nearest features by cosine, best first; equal cosines in the order of their index.

    Args:
        features: [N, D], normalised here; a zero row has cosine 0 with everything.
        k: length of each list, 1 to N.
        queries: [Q, D] of the same D; None asks for the neighbours of the features themselves, and then every item is
            its own first neighbour, duplicates or not.

    Returns:
        [Q, k] indices into `features`, and [Q, k] their cosines.

    Raises:
        InputError: k out of range, shapes that do not fit, or features that are not finite.
    """
    others = unit_rows(features)
    asking = others if queries is None else unit_rows(queries).to(others.device)
    if not 1 <= k <= len(others):
        raise InputError(
            f"nearest neighbours: k must be 1 to the number of features ({len(others)}), found {k}. "
            "Lower k (k1 for pseudo-labels) or use more images."
        )
    if asking.shape[1] != others.shape[1]:
        raise InputError(
            f"nearest neighbours: queries have {asking.shape[1]} values and features {others.shape[1]}; expected one "
            "model for both."
        )
    if queries is None:
        cosines, indices = _among_themselves(others, k)
    elif others.device.type == "cpu" and len(asking) * len(others) >= _FAISS_PAYS and find_spec("faiss"):
        cosines, indices = _by_faiss(asking, others, k)
    else:
        cosines, indices = _by_blocks(asking, others, k)
    return indices.cpu().numpy(), cosines.cpu().numpy()


def least_cosines(features: Features) -> NDArray[np.float32]:
    """[N] the cosine of each of the features [N, D] with the one that is farthest from it."""
    units = unit_rows(features)
    least = torch.full((len(units),), torch.inf, device=units.device)
    for rows, others in _pairs(_tiles(len(units), 1), title="farthest"):
        similarity = units[rows] @ units[others].T
        least[rows] = torch.minimum(least[rows], similarity.amin(dim=1))
        least[others] = torch.minimum(least[others], similarity.amin(dim=0))
    return least.cpu().numpy()


def _among_themselves(units: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """[N, k] cosines and columns of each row's best, itself first; each pair of tiles is multiplied once."""
    best = _Best(len(units), k, units.device)
    own = torch.empty(len(units), device=units.device)
    for rows, others in _pairs(_tiles(len(units), k), title="neighbours"):
        similarity = units[rows] @ units[others].T
        if rows == others:
            own[rows] = similarity.diagonal()
            similarity.fill_diagonal_(torch.inf)
        else:
            best.offer(others, similarity.T, first=rows.start)
        best.offer(rows, similarity, first=others.start)
    best.cosines[:, 0] = own
    return best.cosines, best.columns


def _tiles(count: int, least: int) -> list[slice]:
    """Consecutive slices of equal length, at least `least`.

    A narrow rest would be multiplied by another kernel, whose last bits differ: duplicates would be equal no more.
    """
    parts = max(1, count // max(_TILE, least))
    return [slice(*edges) for edges in pairwise(count * part // parts for part in range(parts + 1))]


def _pairs(tiles: Sequence[slice], *, title: str) -> Iterable[tuple[slice, slice]]:
    """Each pair of tiles once, each with itself too, from left to right; tells how far it is."""
    pairs = list(combinations_with_replacement(tiles, 2))
    return progress(pairs, total=len(pairs), title=title)


def _by_blocks(asking: Tensor, others: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """[Q, k] cosines and columns of the best others of each row."""
    cosines = torch.empty(len(asking), k, device=others.device)
    columns = torch.empty(len(asking), k, dtype=torch.int64, device=others.device)
    size = max(1, _TILE**2 // len(others))
    for start in range(0, len(asking), size):
        rows = slice(start, start + size)
        cosines[rows], columns[rows] = _best_of_rows(asking[rows] @ others.T, k)
    return cosines, columns


class _Best:
    """The k best columns of each row among those offered so far, best first, ties by column.

    The columns of a row must be offered from left to right, a tile of at least k at first: whatever comes later then
    loses a tie, and only what is better than the worst in the list needs a look.
    """

    def __init__(self, rows: int, k: int, device: torch.device) -> None:
        self.cosines = torch.empty(rows, k, device=device)
        self.columns = torch.empty(rows, k, dtype=torch.int64, device=device)

    def offer(self, rows: slice, similarity: Tensor, *, first: int) -> None:
        """Enters the better of the columns from `first` on, [rows, columns] of them, into the lists of some rows."""
        cosines, columns = self.cosines[rows], self.columns[rows]  # views
        k = cosines.shape[1]
        if first == 0:
            cosines[:], columns[:] = _best_of_rows(similarity, k)
            return
        row, column = (similarity > cosines[:, -1:]).nonzero(as_tuple=True)
        counts = row.bincount(minlength=len(cosines))
        place = k + torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
        width = k + int(counts.max())
        both = cosines.new_full((len(cosines), width), -torch.inf)
        both[:, :k], both[row, place] = cosines, similarity[row, column]
        both_columns = columns.new_zeros(both.shape)
        both_columns[:, :k], both_columns[row, place] = columns, column + first
        both, order = both.sort(dim=1, descending=True, stable=True)
        cosines[:], columns[:] = both[:, :k], both_columns.gather(1, order[:, :k])


def _by_faiss(asking: Tensor, others: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As `_by_blocks`, in main memory."""
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())  # it would take every core otherwise
    asked = min(k + 1, len(others))
    found = faiss.knn(asking.numpy(), others.numpy(), asked, metric=faiss.METRIC_INNER_PRODUCT)
    cosines, columns = _in_order(torch.from_numpy(found[0]), torch.from_numpy(found[1]))
    cut = _tied_at(cosines, k)
    cosines, columns = cosines[:, :k], columns[:, :k]
    if len(cut):
        cosines[cut], columns[cut] = _by_blocks(asking[cut], others, k)
    return cosines, columns


def _best_of_rows(similarity: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """[b, k] largest values of each row of [b, N] and their columns, best first, ties by column."""
    values, columns = _in_order(*similarity.topk(min(k + 1, similarity.shape[1]), dim=1))
    cut = _tied_at(values, k)
    columns[cut, :k] = similarity[cut].argsort(dim=1, descending=True, stable=True)[:, :k]
    return values[:, :k], columns[:, :k]


def _in_order(values: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """The same lists, best first, ties by column, whose order searches leave open."""
    columns, order = columns.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order)


def _tied_at(values: Tensor, k: int) -> Tensor:
    """Rows whose cut at k goes through a tie: there a search also leaves open which of the equals it returns."""
    return (values[:, k - 1 : k] == values[:, k:]).any(dim=1).nonzero()[:, 0]


def unit_rows(features: Features) -> Tensor:
    """[N, D] float32 rows of norm 1; a zero row stays zero.

    Raises:
        InputError: not a matrix, or a row that is not finite.
    """
    # torch refuses arrays with negative strides.
    rows = torch.as_tensor(np.ascontiguousarray(features) if isinstance(features, np.ndarray) else features)
    rows = rows.detach().float()
    if rows.ndim != 2:
        raise InputError(f"features: expected a matrix [N, D], found shape {tuple(rows.shape)}.")
    bad = (~rows.isfinite().all(dim=1)).nonzero()
    if len(bad):
        raise InputError(
            f"features: row {int(bad[0])} is not finite ({len(bad)} such rows). Find the images whose features are NaN "
            "or infinite and extract them again."
        )
    return normalize(rows, dim=1)
