"""Pictures of a feed for its page: small, and with the head blurred before they are encoded."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageFilter

from itkm.data.images import decode
from itkm.errors import InputError
from itkm.feeds.feed import IMAGES
from itkm.report.thumbnails import data_uri

HEIGHT = 128
HEAD = 0.3  # share of a crop's height, from the top, in which the head is


def picture_of(folder: Path, path: str) -> str | None:
    """The data URI of an image of a feed; None where it is not there or cannot be decoded."""
    try:
        image = decode((folder / IMAGES / path).read_bytes(), name=path)
    except (OSError, InputError):
        return None
    image.thumbnail((2 * HEIGHT, HEIGHT))
    return data_uri(without_head(image), height=HEIGHT)


def without_head(image: Image.Image) -> Image.Image:
    """A copy whose upper part is reduced to a few blurred patches, from which no face can be brought back."""
    hidden = image.copy()
    region = (0, 0, image.width, round(HEAD * image.height))
    head = image.crop(region)
    patches = head.resize((4, 4), Image.Resampling.BOX).resize(head.size, Image.Resampling.BICUBIC)
    hidden.paste(patches.filter(ImageFilter.GaussianBlur(2)), region)
    return hidden
