"""A second outfit for sets that have no natural one: copies of the training images in clothes of other colours.

[ours, after the clothing augmentation of the authors' CICL] CICL recolours the regions that a human parser finds. No
parser is at hand here: torso and legs are where they stand in a crop of a standing person, with soft edges, and some
background changes its colour too. Shape and shading stay.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from itkm.data.images import decode
from itkm.data.importers.source import SourceImage

ACROSS = ((0.1, 0.25, 0.75, 0.9), (0, 1, 1, 0))
"""Where clothes are from left to right: shares of the width, and how much they count there."""
DOWN = (
    ((0.15, 0.2, 0.48, 0.52), (0, 1, 1, 0)),  # torso
    ((0.48, 0.52, 0.88, 0.93), (0, 1, 1, 0)),  # legs
)
"""The same from top to bottom, for each region."""
SWAPS = tuple(order for order in permutations(range(3)) if order != (0, 1, 2))
DYE = 0.4
"""The share of a plain colour in the new one; the rest is the old one with its channels swapped."""


def recoloured(image: SourceImage, *, group: str) -> SourceImage:
    """A copy of an image for another group, in clothes that nobody has: they are unknown, and `source` says so."""
    marks = {"group": group, "clothes": -1, "source": f"{image.row['source']} (recoloured)"}
    where = f"{image.where} (recoloured)"
    return dataclasses.replace(
        image,
        row={**image.row, **marks},
        where=where,
        read=lambda: recolour(image.file.read_bytes(), name=where),
    )


def recolour(content: bytes, *, name: str) -> bytes:
    """The image with its torso and its legs in other colours, as PNG; the same content gives the same colours.

    Args:
        content: an image file.
        name: named in errors.

    Raises:
        InputError: it cannot be decoded.
    """
    pixels = np.asarray(decode(content, name=name), dtype=np.float64)
    seed = hashlib.sha256(content).digest()
    for number, weight in enumerate(_regions(*pixels.shape[:2])):
        swap, *colour = seed[4 * number : 4 * number + 4]
        dyed = (1 - DYE) * pixels[..., SWAPS[swap % len(SWAPS)]] + DYE * np.array(colour)
        pixels = pixels + weight * (dyed - pixels)
    stream = io.BytesIO()
    Image.fromarray(pixels.round().astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def _regions(height: int, width: int) -> list[NDArray[np.float64]]:
    """The weight of each region at each pixel, in [0, 1]: [height, width, 1]."""
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    return [(np.interp(y, *down)[:, None] * np.interp(x, *ACROSS))[..., None] for down in DOWN]
