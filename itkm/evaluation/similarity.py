"""Similarity of queries to a gallery, a block of queries at a time: never a Q x G matrix."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from itkm.errors import InputError
from itkm.evaluation.features import FeatureSet

Floats = NDArray[np.float32]

Similarity = Callable[[int, int], Floats]
"""(start, stop) of the queries to [stop - start, G] similarities with the whole gallery, larger is closer."""

_WORTH_A_DEVICE = 1e11
"""Products from which a GPU is looked for: below, the import of torch costs more than the product on a CPU."""


def cosine(query: FeatureSet, gallery: FeatureSet) -> Similarity:
    """The cosine; large products run on the GPU where there is one. Equal images of the gallery are exactly as close.

    Raises:
        InputError: features of different length, or one that is all zeros.
    """
    require_one_width(query, gallery)
    asking, (answering, which) = query.unit_rows(), _distinct(gallery.unit_rows())
    compared = _products(asking, answering)
    return compared if len(answering) == len(which) else lambda start, stop: compared(start, stop)[:, which]


def _products(asking: Floats, answering: Floats) -> Similarity:
    """The scalar products of rows."""
    if len(asking) * answering.size >= _WORTH_A_DEVICE:
        import torch

        if torch.cuda.is_available():
            left, right = torch.from_numpy(asking).cuda(), torch.from_numpy(answering).cuda().T
            return lambda start, stop: (left[start:stop] @ right).cpu().numpy()
    return lambda start, stop: asking[start:stop] @ answering.T


def _distinct(rows: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Equal rows once [U, D], and the place of each row among them [N].

    A matrix product rounds equal columns differently where they fall into different tiles, so that ties were none.
    """
    places: dict[bytes, int] = {}
    which = np.array([places.setdefault(blake2b(row, digest_size=16).digest(), len(places)) for row in rows])
    if len(places) == len(rows):
        return rows, which
    return rows[np.unique(which, return_index=True)[1]], which


def require_one_width(query: FeatureSet, gallery: FeatureSet) -> None:
    """Refuses features of two models.

    Raises:
        InputError: features of different length.
    """
    if query.features.shape[1] != gallery.features.shape[1]:
        raise InputError(
            f"query features have {query.features.shape[1]} values and gallery features {gallery.features.shape[1]}: "
            "extract both with the same model."
        )
