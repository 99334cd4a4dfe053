"""Similarity of queries to a gallery, a block of queries at a time: never a Q x G matrix."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from itkm.errors import InputError
from itkm.evaluation.features import FeatureSet

Similarity = Callable[[int, int], NDArray[np.float32]]
"""(start, stop) of the queries to [stop - start, G] similarities with the whole gallery, larger is closer."""

_WORTH_A_DEVICE = 1e11
"""Products from which a GPU is looked for: below, the import of torch costs more than the product on a CPU."""


def cosine(query: FeatureSet, gallery: FeatureSet) -> Similarity:
    """The cosine; large products run on the GPU where there is one.

    Raises:
        InputError: features of different length, or one that is all zeros.
    """
    require_one_width(query, gallery)
    asking, answering = query.unit_rows(), gallery.unit_rows()
    if len(asking) * answering.size >= _WORTH_A_DEVICE:
        import torch

        if torch.cuda.is_available():
            left, right = torch.from_numpy(asking).cuda(), torch.from_numpy(answering).cuda().T
            return lambda start, stop: (left[start:stop] @ right).cpu().numpy()
    return lambda start, stop: asking[start:stop] @ answering.T


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
