"""A ranked list as one offline page that needs no network, no script and no other file."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import itkm.report
from itkm.data.images import Encoded, decode, packed_images
from itkm.data.manifest import names_of, read_manifest
from itkm.errors import InputError
from itkm.evaluation.features import FeatureSet
from itkm.report.thumbnails import data_uri
from itkm.retrieval.images import is_scenario, read_file
from itkm.retrieval.search import Hit

HEIGHT = 160  # pixels of a picture, at most

logger = logging.getLogger(__name__)


def build_page(hits: Sequence[Hit], pictures: Sequence[str | None], *, title: str, asked: str, count: int) -> str:
    """The page as HTML. The same list gives the same page.

    Args:
        hits: best first.
        pictures: data URI of each, None where the image was not found.
        title: the query: its words, or the name of its file.
        asked: data URI of the query, "" where it was words.
        count: images in the gallery.
    """
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent, *itkm.report.__path__]),  # the report's looks
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    tiles = [(hit, describe(hit), picture) for hit, picture in zip(hits, pictures, strict=True)]
    return environment.get_template("search.html.j2").render(tiles=tiles, title=title, asked=asked, count=count)


def describe(hit: Hit) -> str:
    """What is known of an image, in words."""
    person = [] if hit.person is None else [f"person {hit.person}"]
    return ", ".join([*person, f"camera {hit.camera}", *([hit.group] if hit.group else [])])


def picture_of(file: Path) -> str:
    """The data URI of an image file.

    Raises:
        InputError: it cannot be read or decoded.
    """
    return _shrink((str(file), partial(read_file, file)))


def find_pictures(hits: Sequence[Hit], images: FeatureSet, data: Path) -> list[str | None]:
    """Data URIs of gallery images, None where an image is not found; how many are not is said.

    Args:
        hits: the images wanted.
        images: the gallery that they are of.
        data: the folder in which its images lie: of the scenario, or that to which files are relative.
    """
    pictures: list[str | None] = []
    for place in _locate([hit.row for hit in hits], images, data):
        try:
            pictures.append(_shrink(place) if place else None)
        except InputError as error:
            logger.debug("%s", error)
            pictures.append(None)
    if missing := pictures.count(None):
        logger.warning(
            "%d of %d pictures were not found in %s. Say with --data where the gallery's images lie.",
            *(missing, len(pictures), data.resolve()),
        )
    return pictures


def _locate(rows: Sequence[int], images: FeatureSet, data: Path) -> list[Encoded | None]:
    """Where the images of some gallery rows lie."""
    if images.path is None:
        return [None] * len(rows)
    names = [str(name) for name in images.path[list(rows)]]
    if not is_scenario(data):
        return [(name, partial(read_file, data / name)) for name in names]
    frame = read_manifest(data)
    keys = list(zip(names_of(frame).tolist(), frame["group"], strict=True))  # one file may stand in both groups
    places, counts = dict(zip(keys, packed_images(frame, data), strict=True)), Counter(keys)
    groups = [""] * len(rows) if images.group is None else images.group[list(rows)].tolist()
    return [places[key] if counts[key] == 1 else None for key in zip(names, groups, strict=True)]


def _shrink(image: Encoded) -> str:
    name, read = image
    return data_uri(decode(read(), name=name), height=HEIGHT)
