"""Small JPEGs as data URIs, within a budget of bytes: the page carries its pictures with it."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from PIL import Image

from itkm.data.images import decode
from itkm.data.shards import ShardReader

HEIGHTS = (128, 96, 64)
QUALITY = 78

logger = logging.getLogger(__name__)


class Thumbnails:
    """Data URIs of images by (scenario, path).

    Args:
        budget: bytes of the data URIs together, counting an image as often as it is shown.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._images: list[tuple[tuple[str, str], Image.Image]] = []

    def add(self, scenario: str, paths: Iterable[str], table: pd.DataFrame, data: Path) -> None:
        """Reads the images of one scenario.

        Args:
            scenario: its name.
            paths: member names, an image as often as it is shown.
            table: rows with `path` and `shard`.
            data: the folder that holds the shards.
        """
        shards = dict(zip(table["path"], table["shard"], strict=True))
        reader = ShardReader(data)
        decoded: dict[str, Image.Image] = {}
        for path in paths:
            if path not in decoded:
                image = decode(reader.read(shards[path], path), name=f"{data / shards[path]}: {path}")
                image.thumbnail((2 * HEIGHTS[0], HEIGHTS[0]))
                decoded[path] = image
            self._images.append(((scenario, path), decoded[path]))

    def encode(self) -> dict[tuple[str, str], str]:
        """The data URIs: as large as the budget allows, or the smallest size with a warning."""
        for height in HEIGHTS:
            encoded: dict[tuple[str, str], str] = {}
            total = 0
            for key, image in self._images:
                if key not in encoded:
                    encoded[key] = data_uri(image, height=height)
                total += len(encoded[key])
            if total <= self._budget:
                return encoded
        logger.warning("the report's pictures take %d MB: many scenarios, or large images", total // 2**20)
        return encoded


def data_uri(image: Image.Image, *, height: int) -> str:
    """An image as a JPEG data URI, at most `height` pixels high and never enlarged."""
    small = image.copy()
    small.thumbnail((2 * height, height))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
