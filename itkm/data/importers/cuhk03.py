"""CUHK03, classic protocol.

Reference
    Li et al., DeepReID: Deep Filter Pairing Neural Network for Person Re-identification, CVPR 2014.
    https://doi.org/10.1109/CVPR.2014.27
Layout
    cuhk03_release/cuhk-03.mat (MATLAB 7.3): `labeled` and `detected` hold five camera pairs of identities x 10 images,
    the first five of view 1; `testsets` holds 20 times 100 identities as (pair, identity).
    Or the images taken out of it, images_labeled/1_001_1_01.png (pair, identity, view, number), beside
    splits_classic_labeled.json, a list of 20 divisions whose `query` is a list of [file, identity, camera].
    The same with `detected` instead of `labeled`.
Statistics
    1,467 identities; 14,096 images in boxes drawn by hand (labeled), 14,097 in those of a detector (detected). Each of
    the 20 divisions (--trial) has 1,367 identities to train on and 100 to test.
Groups
    View 1 and view 2 of all pairs, unless groups are given. Cameras c1, c2 are the views of the first pair, c3, c4
    those of the second, and so on.
Test
    Queries are of view 1, the gallery of view 2.
Licence
    For academic research only; ask the authors.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any, Literal

import numpy as np
from PIL import Image

from itkm.data.images import MAX_PIXELS
from itkm.data.importers.extras import load_extra
from itkm.data.importers.source import (
    UNKNOWN,
    Format,
    Groups,
    Listing,
    Part,
    Request,
    SourceImage,
    folder_with,
    group_of_cameras,
    image_files,
    require_inside,
    require_published,
    source_image,
)
from itkm.errors import InputError

Boxes = Literal["labeled", "detected"]

NAME = re.compile(r"([1-5])_(\d{3})_([12])_(\d{2})\.png")
MAT = "cuhk-03.mat"
VIEWS = 2
IMAGES_PER_VIEW = 5
CAMERAS = tuple(f"c{number}" for number in range(1, 5 * VIEWS + 1))
DEFAULT_GROUPS: Groups = {"view-1": CAMERAS[0::VIEWS], "view-2": CAMERAS[1::VIEWS]}
TRIALS = 20

WHOLE: Mapping[Boxes, Part] = {"labeled": Part("labeled", 1467, 14_096), "detected": Part("detected", 1467, 14_097)}
PARTS = {"train": Part("the training half", 1367, None), "test": Part("the test set", 100, None)}


def list_cuhk03(request: Request, *, boxes: Boxes = "labeled") -> Listing:
    """Lists CUHK03 as division `request.trial` divides it.

    Raises:
        InputError: neither layout, a file that cannot be read, a name that does not parse, groups that do not fit, or
            the statistics differ.
    """
    group_of = group_of_cameras(request.groups or DEFAULT_GROUPS, CAMERAS, source=request.source)
    place = find_images(request.source, boxes, with_file=f"splits_classic_{boxes}.json")
    found = read_images(place, boxes, scenario=request.scenario)
    tested = _read_testset(place, boxes, trial=request.trial)
    images: list[SourceImage] = []
    for image in found.values():
        camera = str(image.row["camera"])
        split = "train"
        if image.row["person"] in tested:
            split = "query" if CAMERAS.index(camera) % VIEWS == 0 else "gallery"
        images.append(replace(image, row={**image.row, "group": group_of[camera], "split": split}))
    train = [image for image in images if image.row["split"] == "train"]
    test = [image for image in images if image.row["split"] != "train"]
    differences = [
        *WHOLE[boxes].differences(images),
        *PARTS["train"].differences(train),
        *PARTS["test"].differences(test),
    ]
    return Listing(images, require_published(f"CUHK03 ({boxes})", differences, request, asserted=True))


def find_images(source: Path, boxes: Boxes, *, with_file: str = "") -> Path:
    """The folder of the images taken out, if `with_file` lies beside it, else the file that holds them.

    Raises:
        InputError: neither is there.
    """
    folder = f"images_{boxes}"
    for wanted in ([folder, with_file] if with_file else [folder], [MAT]):
        with suppress(InputError):
            return folder_with(source, wanted) / wanted[0]
    beside = f" beside {with_file}" if with_file else ""
    raise InputError(
        f"{source}: expected {MAT}, or {folder}{beside}. Give the folder cuhk03_release, or what holds it."
    )


def read_images(place: Path, boxes: Boxes, *, scenario: str) -> dict[str, SourceImage]:
    """All images of a folder or of `cuhk-03.mat`, by name and in its order; their split and group are still open.

    Raises:
        InputError: a file that cannot be read, or a name that does not parse.
    """
    if place.is_file():
        return _in_mat(place, boxes, scenario=scenario)
    images: dict[str, SourceImage] = {}
    for file in image_files(place, root=place.parent):
        person, camera = parse_name(file.name, where=str(file))
        images[file.name] = source_image(file, root=place.parent, scenario=scenario, person=person, camera=camera)
    return images


def parse_name(name: str, *, where: str) -> tuple[int, str]:
    """Identity and camera of an image of that name.

    Raises:
        InputError: another kind of name; `where` it stands.
    """
    match = NAME.fullmatch(name)
    if match is None:
        raise InputError(f"{where}: expected a name such as 1_001_1_01.png. Remove or rename the file.")
    pair, number, view = int(match[1]), int(match[2]), int(match[3])
    return person_of(pair, number), CAMERAS[VIEWS * (pair - 1) + view - 1]


def person_of(pair: int, number: int) -> int:
    """The identity `number` of a camera pair, which has less than a thousand."""
    return 1000 * pair + number


def _in_mat(file: Path, boxes: Boxes, *, scenario: str) -> dict[str, SourceImage]:
    images: dict[str, SourceImage] = {}
    with _reading(file):
        mat = _open_mat(file)
        for name, cell in _named_cells(mat, boxes):
            if _dataset(mat, cell).ndim < 3:  # an identity may have fewer than five images of a view
                continue
            where = f"{file}: {boxes}/{name}"
            person, camera = parse_name(name, where=where)
            known = {"scenario": scenario, "source": f"{boxes}/{name}", "person": person, "camera": camera}
            images[name] = SourceImage(file, {**UNKNOWN, **known}, where, read=partial(_png, mat, cell, where))
    return images


def _named_cells(mat: Any, boxes: Boxes) -> Iterator[tuple[str, Any]]:
    """All cells, empty ones too, under the names that their images have when they are taken out."""
    for pair, camera_pair in enumerate(_array(mat, boxes).ravel(), 1):
        for number, cells in enumerate(_array(mat, camera_pair).T, 1):
            for place, cell in enumerate(cells, 1):
                yield f"{pair}_{number:03d}_{1 if place <= IMAGES_PER_VIEW else 2}_{place:02d}.png", cell


def _read_testset(place: Path, boxes: Boxes, *, trial: int) -> set[int]:
    """The identities that division `trial` (from 1) tests."""
    if place.is_file():
        with _reading(place):
            mat = _open_mat(place)
            testset = _array(mat, _array(mat, "testsets").ravel()[trial - 1]).T
            return {person_of(int(pair), int(number)) for pair, number in testset}
    file = place.with_name(f"splits_classic_{boxes}.json")
    try:
        queries = json.loads(file.read_text(encoding="utf-8"))[trial - 1]["query"]
        names = [PureWindowsPath(query[0]).name for query in queries]  # written on any system
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise InputError(
            f"{file}: no division {trial} ({error!r}). Expected a list of {TRIALS} divisions, each with `query`, a "
            f"list of [file, identity, camera]. Get it again, or give the folder of {MAT}."
        ) from error
    return {parse_name(name, where=f"{file}: division {trial}, file {name!r}")[0] for name in names}


def _open_mat(file: Path) -> Any:
    h5py = load_extra("h5py", file=file)
    return h5py.File(require_inside(file, root=file.parent), "r")


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a damaged file can make the library raise anything
        raise InputError(f"{file}: cannot be read as {MAT}, MATLAB 7.3 ({error}). Get the file again.") from error


def _array(mat: Any, place: Any) -> Any:
    """The array at a name or reference; MATLAB's dimensions come in reverse order."""
    return _dataset(mat, place)[()]


def _dataset(mat: Any, place: Any) -> Any:
    """The data set at a name or reference.

    Raises:
        InputError: its values lie in another file, which the user did not name.
    """
    dataset = mat[place]
    if dataset.file.filename != mat.filename or dataset.external or dataset.is_virtual:
        raise InputError(f"{mat.filename}: {dataset.name} refers to another file. Get the published {MAT}.")
    return dataset


def _png(mat: Any, cell: Any, where: str) -> bytes:
    """One image of `cuhk-03.mat`, stored as uint8 [3, W, H], as a PNG file."""
    with _reading(Path(mat.filename)):
        dataset = _dataset(mat, cell)
        if dataset.shape[0] != 3 or dataset.dtype != np.uint8 or dataset.size > 3 * MAX_PIXELS:
            raise InputError(f"{where}: {dataset.dtype} {dataset.shape}, expected uint8 (3, width, height).")
        stream = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(dataset[()].T)).save(stream, "PNG")
    return stream.getvalue()


FORMAT = Format(
    name="cuhk03",
    description="CUHK03 (Li et al., CVPR 2014): 1,467 identities, 20 classic divisions, boxes drawn by hand",
    layout="cuhk03_release/cuhk-03.mat, or images_labeled/*.png beside splits_classic_labeled.json",
    licence="academic research only; ask the authors",
    read=list_cuhk03,
    trials=TRIALS,
)
DETECTED = Format(
    name="cuhk03-detected",
    description="CUHK03 (Li et al., CVPR 2014): 1,467 identities, 20 classic divisions, boxes of a detector",
    layout="cuhk03_release/cuhk-03.mat, or images_detected/*.png beside splits_classic_detected.json",
    licence="academic research only; ask the authors",
    read=partial(list_cuhk03, boxes="detected"),
    trials=TRIALS,
)
