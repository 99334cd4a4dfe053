"""Two cheap repairs of a weak start, which its first pseudo-labels [ours; measured in the demo's trials]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from itkm.errors import InputError
from itkm.labelling.units import to_units

Floats = NDArray[np.float32]

_BLOCK_IMAGES = 256


def centre_per_camera(features: Floats, cameras: NDArray[np.generic]) -> Floats:
    """Subtracts from each unit feature the mean of its camera, so that neighbours are not those of the same camera.

    Args:
        features: [N, D], normalised here first.
        cameras: [N] numbers or names.

    Returns:
        [N, D] unit rows; the only image of a camera becomes zero, which is nearest to nobody.

    Raises:
        InputError: lengths that differ.
    """
    if len(features) != len(cameras):
        raise InputError(f"camera centring: expected one camera per feature ({len(features)}), found {len(cameras)}.")
    units = to_units(features)
    _, camera, sizes = np.unique(cameras, return_inverse=True, return_counts=True)
    means = np.zeros((len(sizes), units.shape[1]), dtype=np.float64)
    np.add.at(means, camera, units)
    centred = units - (means / sizes[:, None])[camera]
    centred[sizes[camera] == 1] = 0  # rounding would be blown up to a direction
    return to_units(centred)


def appearance_prior(images: NDArray[np.uint8], *, stripes: int = 6, bins: int = 8) -> Floats:
    """Colour histogram of horizontal stripes: what a person wears, from head to feet, without any training.

    Square roots of the counts, so that the cosine is the Bhattacharyya coefficient of the histograms.

    Args:
        images: [N, 3, H, W] uint8.
        stripes: horizontal parts of equal height (up to a row).
        bins: of each colour channel.

    Returns:
        [N, stripes * 3 * bins] unit rows.

    Raises:
        InputError: images of another shape or type, or lower than the number of stripes.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != np.uint8 or images.shape[2] < stripes:
        raise InputError(
            f"appearance prior: expected images uint8 [N, 3, H, W] with H at least {stripes}, found {images.dtype} of "
            f"shape {images.shape}."
        )
    count, _, height, _ = images.shape
    stripe = np.arange(height) * stripes // height
    cell = (stripe[None, :] * 3 + np.arange(3)[:, None]) * bins
    length = stripes * 3 * bins
    histograms = np.empty((count, length), dtype=np.float32)
    level = (np.arange(256) * bins // 256).astype(np.int64)
    for start in range(0, count, _BLOCK_IMAGES):
        block = images[start : start + _BLOCK_IMAGES]
        row = np.arange(len(block))[:, None, None, None] * length
        cells = level[block] + cell[None, :, :, None] + row
        counts = np.bincount(cells.ravel(), minlength=len(block) * length)
        histograms[start : start + len(block)] = np.sqrt(counts.reshape(len(block), length))
    return to_units(histograms)


def with_prior(features: Floats, prior: Floats, *, weight: float) -> Floats:
    """Features whose cosine is (1 - weight) * cosine of the features + weight * cosine of the prior.

    Args:
        features: [N, D], normalised here.
        prior: [N, F], normalised here.
        weight: share of the prior, 0 to 1.

    Returns:
        [N, D + F] unit rows.

    Raises:
        InputError: lengths that differ, or a weight out of range.
    """
    if len(features) != len(prior) or not 0 <= weight <= 1:
        raise InputError(
            f"appearance prior: expected one row per feature ({len(features)}) and a weight from 0 to 1, found "
            f"{len(prior)} rows and weight {weight}."
        )
    parts = [np.sqrt(1 - weight) * to_units(features), np.sqrt(weight) * to_units(prior)]
    return np.concatenate(parts, axis=1, dtype=np.float32)
