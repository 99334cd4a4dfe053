"""From bytes to pixels: decoding that refuses hostile or broken files, and loading into one array."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageOps

from itkm.data.manifest import name_image
from itkm.data.shards import ShardReader
from itkm.errors import InputError

MAX_PIXELS = 25_000_000
MIN_SIDE = 8
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM")
_BLOCK = 64  # images a task: large enough that the pool costs nothing, small enough that threads finish together

Encoded = tuple[str, Callable[[], bytes]]
"""An image that is not yet read: what errors call it, and what gives its file's content."""


def decode(content: bytes, *, name: str) -> Image.Image:
    """Decodes one image to RGB, upright according to its EXIF orientation.

    Args:
        content: a JPEG, PNG, BMP, WEBP, TIFF or PPM file.
        name: named in errors.

    Raises:
        InputError: not an image, truncated, more than `MAX_PIXELS` pixels, or a side below `MIN_SIDE` pixels.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _require_sane_size(image.size, name=name)
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image), name=name)
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{name}: {error}. Expected a crop of one person.") from error
    except Exception as error:  # hostile bytes can make a decoder raise anything; all of it means the same to the user
        raise InputError(
            f"{name}: cannot be decoded ({error}). Expected a whole {', '.join(FORMATS)} file; replace or remove it."
        ) from error


def load_images(
    table: pd.DataFrame, folder: Path, *, height: int, width: int, workers: int = 2
) -> npt.NDArray[np.uint8]:
    """Decodes and resizes the images of a table, in its order.

    Args:
        table: [N] rows with the columns `shard` and `path`; errors name `source` too where it is a column.
        folder: the folder of the scenario, to which `shard` is relative.
        height: pixels of the result.
        width: pixels of the result.
        workers: threads that decode.

    Returns:
        uint8 [N, 3, height, width], RGB.

    Raises:
        InputError: a shard or member is missing, or an image cannot be decoded.
    """
    return decode_all(packed_images(table, folder), height=height, width=width, workers=workers)


def packed_images(table: pd.DataFrame, folder: Path) -> list[Encoded]:
    """The images of a table's rows, not yet read; see `load_images`."""
    reader = ShardReader(folder)
    sources = table["source"] if "source" in table else [""] * len(table)
    return [
        (f"{folder / shard}: {name_image(path, source)}", partial(reader.read, shard, path))
        for shard, path, source in zip(table["shard"], table["path"], sources, strict=True)
    ]


def decode_all(images: Sequence[Encoded], *, height: int, width: int, workers: int = 2) -> npt.NDArray[np.uint8]:
    """Decodes and resizes images, in their order.

    The aspect ratio is not kept: a person crop is squashed to the model's shape, never cut.

    Returns:
        uint8 [N, 3, height, width], RGB.

    Raises:
        InputError: an image cannot be read or decoded.
    """
    pixels = np.empty((len(images), 3, height, width), dtype=np.uint8)

    def fill(start: int) -> None:
        for index, (name, read) in enumerate(images[start : start + _BLOCK], start):
            image = decode(read(), name=name)
            pixels[index] = np.asarray(squash(image, height=height, width=width)).transpose(2, 0, 1)

    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(fill, range(0, len(images), _BLOCK)):
            pass
    return pixels


def squash(image: Image.Image, *, height: int, width: int) -> Image.Image:
    """Resizes without keeping the aspect ratio, bilinear with antialiasing."""
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _require_sane_size(size: tuple[int, int], *, name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise InputError(f"{name}: {width}x{height} pixels, expected at most {MAX_PIXELS:,}. Give crops of one person.")
    if min(size) < MIN_SIDE:
        raise InputError(f"{name}: {width}x{height} pixels, expected at least {MIN_SIDE} on each side. Remove it.")


def _to_rgb(image: Image.Image, *, name: str) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow would clip 16-bit grey at 255 instead of scaling it
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise InputError(f"{name}: 32-bit pixels have no known range, expected 8 or 16 bits a channel. Convert it.")
    return image.convert("RGB")


def resize_array(images: npt.NDArray[np.uint8], *, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Decoded images [N, H, W, 3] squashed like loaded ones: uint8 [N, 3, height, width]."""
    resized = [np.asarray(squash(Image.fromarray(image), height=height, width=width)) for image in images]
    return np.stack(resized).transpose(0, 3, 1, 2).copy()
