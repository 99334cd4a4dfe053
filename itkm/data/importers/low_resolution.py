"""Cross-resolution sets (MLR): made from a set of one resolution, or read as somebody packed them.

There is no canonical release of these sets, so this says how ours are made. For each person who is seen by two cameras
or more, one of them is chosen; each image of that camera is reduced to 1/2, 1/3 or 1/4 of its width and height. Both
choices are uniform and depend on nothing but the seed and the person, or the seed and the image's name: a missing image
changes no other. Interpolation is Pillow's, with antialiasing. Sides are rounded down, to no less than 8 pixels.

A made image is a PNG, and its `source` in the manifest says from what and how it was made, for instance
`labeled/1_001_1_01.png (bilinear 1/3)`. So the manifest and the originals alone make the same images again, bit for bit
under the same version of Pillow.

In the training half, the images of the chosen camera are group `low` and the person's others `high`; in the test, `low`
asks and `high` is the gallery. Persons of a single camera, and distractors, stay `high`.
"""

from __future__ import annotations

import io
import random
import re
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, TypeVar

from PIL import Image

from itkm.data.images import MIN_SIDE, decode
from itkm.data.importers.source import Request, SourceImage, folder_with, image_files, source_image
from itkm.errors import InputError

Method = Literal["bilinear", "bicubic", "lanczos"]
Folders = Mapping[str, str]  # folder to split
Choice = TypeVar("Choice")

FACTORS = (2, 3, 4)
TRIALS = 10
RESAMPLING: Mapping[Method, Image.Resampling] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# As others packed such sets: a reduced image lies in a folder `lr`, or its name ends in the factor, as
# 0002_c1s1_000451_03_2x.jpg does.
BY_RESOLUTION: Folders = {"train/lr": "train", "train/hr": "train", "query/lr": "query", "gallery/hr": "gallery"}
LIKE_MARKET: Folders = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}
NAME = re.compile(r"(-1|\d+)_c(\d+).*?(_[234]x)?\.\w+")
JUNK = -1


def training_half(persons: Iterable[int], *, trial: int) -> set[int]:
    """Half of the persons, drawn by `random` with the trial as seed.

    Published code seeds it so for CAVIAR4REID; that it draws a sample of the sorted identities is a reconstruction.
    """
    ordered = sorted(persons)
    return set(random.Random(trial).sample(ordered, len(ordered) // 2))


def choose_cameras(images: Iterable[SourceImage], *, seed: int) -> dict[int, str]:
    """For each person whom two cameras or more see, the camera whose images are to be reduced."""
    seen: dict[int, set[str]] = defaultdict(set)
    for image in images:
        seen[_person(image)].add(str(image.row["camera"]))
    return {
        person: _draw(sorted(cameras), f"{seed} {person}")
        for person, cameras in seen.items()
        if person > 0 and len(cameras) > 1
    }


def reduce_images(
    images: Iterable[SourceImage], cameras: Mapping[int, str], trained: Container[int], *, method: Method, seed: int
) -> list[SourceImage]:
    """All images in their order with group and split, those of a person's chosen camera reduced.

    Args:
        images: of one resolution.
        cameras: the chosen camera of each person, as `choose_cameras` gives them.
        trained: the persons to train on; the others test.
        method: interpolation.
        seed: of the factors.
    """
    made: list[SourceImage] = []
    for image in images:
        person = _person(image)
        low = cameras.get(person) == image.row["camera"]
        split = "train" if person in trained else "query" if low else "gallery"
        row = {**image.row, "group": "low" if low else "high", "split": split}
        if low:
            factor = _draw(FACTORS, f"{seed} {row['source']}")
            row["source"] = f"{row['source']} ({method} 1/{factor})"
            made.append(replace(image, row=row, read=partial(_read_reduced, image, method, factor)))
        else:
            made.append(replace(image, row=row))
    return made


def persons_of(images: Iterable[SourceImage], *, split: str) -> set[int]:
    """The persons of a split."""
    return {_person(image) for image in images if image.row["split"] == split}


def reduced(content: bytes, *, method: Method, factor: int, name: str) -> bytes:
    """An image file at 1/factor of its width and height, as PNG.

    Raises:
        InputError: it cannot be decoded; `name` is what the message calls it.
    """
    image = decode(content, name=name)
    size = max(MIN_SIDE, image.width // factor), max(MIN_SIDE, image.height // factor)
    stream = io.BytesIO()
    image.resize(size, RESAMPLING[method]).save(stream, "PNG")
    return stream.getvalue()


def list_packed(request: Request, *shapes: Folders, zero: int = 0) -> list[SourceImage]:
    """The images of a set that somebody packed in one of these shapes; none where there is no such set.

    Args:
        request: says where.
        shapes: the folders of each and the split that they become.
        zero: the person that identity 0 is; 0 where it is a distractor.

    Raises:
        InputError: a name does not parse, or another trial is asked for than the one there is.
    """
    for folders in shapes:
        images = _list_packed(request, folders, zero=zero)
        if any(image.row["group"] == "low" for image in images):
            if request.trial != 1:
                raise InputError(
                    f"{request.source}: a packed set is one division, and --trial {request.trial} is given. Leave the "
                    "option out, or give the set of one resolution, of which each division can be made."
                )
            return images
    return []


def _list_packed(request: Request, folders: Folders, *, zero: int) -> list[SourceImage]:
    try:
        root = folder_with(request.source, list(folders))
    except InputError:
        return []
    images: list[SourceImage] = []
    for folder, split in folders.items():
        for file in image_files(root / folder, root=root):
            match = NAME.fullmatch(file.name)
            if match is None:
                raise InputError(f"{file}: expected a name such as 0002_c1s1_000451_03_2x.jpg. Remove or rename it.")
            group = "low" if match[3] or folder.endswith("/lr") else "high"
            view = {"group": group, "camera": f"c{match[2]}", "split": split, "person": int(match[1]) or zero}
            if view["person"] != JUNK:
                images.append(source_image(file, root=root, scenario=request.scenario, **view))
    return images


def _read_reduced(image: SourceImage, method: Method, factor: int) -> bytes:
    content = image.read() if image.read else image.file.read_bytes()
    return reduced(content, method=method, factor=factor, name=image.where)


def _person(image: SourceImage) -> int:
    return int(str(image.row["person"]))


def _draw(choices: Sequence[Choice], seed: str) -> Choice:
    """One of the choices; a text as seed and `random()` give the same under every version of Python."""
    return choices[int(random.Random(seed).random() * len(choices))]
