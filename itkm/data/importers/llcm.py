"""LLCM, the low-light cross-modality set.

Reference
    Zhang and Wang, Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark for Visible-Infrared
    Person Re-identification, CVPR 2023.
    https://github.com/ZYK100/LLCM
Layout
    LLCM/{vis,nir}/0351/0351_c06_s200656_f4830_vis.jpg to train on: identity, camera, sequence, frame; and
    LLCM/idx/train_{vis,nir}.txt with lines such as "vis/0351/0351_c06_s200656_f4830_vis.jpg 0".
    LLCM/test_{vis,nir}/cam1/0002/*.jpg to test with: camera, identity; and LLCM/idx/test_id.txt, one line of identities
    with commas between them. Camera 3 has no infrared images.
Statistics
    713 identities, 16,946 visible and 13,975 infrared images to train on; 351 identities, 7,166 infrared queries and
    8,680 visible gallery images. As the paper counts them: a difference warns.
Splits
    Infrared test images are `query`, visible ones `gallery`. To score the other direction, give the feature files to
    `itkm score` the other way round.
Groups
    `visible` and `infrared`; both come from the same nine cameras.
Licence
    For academic research only; sign the authors' agreement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from itkm.data.importers.source import (
    Format,
    Listing,
    Part,
    Request,
    SourceImage,
    folder_with,
    image_files,
    read_ids,
    read_list,
    require_inside,
    require_published,
    source_image,
)
from itkm.errors import InputError

VIEW = re.compile(r"/cam([1-9])/(\d+)/[^/]+$|/(\d+)_c0([1-9])_[^/]+$")
CAMERAS = range(1, 10)

PARTS = (
    ("train", "visible", Part("idx/train_vis.txt", 713, 16_946)),
    ("train", "infrared", Part("idx/train_nir.txt", 713, 13_975)),
    ("query", "infrared", Part("test_nir", 351, 7_166)),
    ("gallery", "visible", Part("test_vis", 351, 8_680)),
)


def list_llcm(request: Request) -> Listing:
    """Lists LLCM, of the folder `LLCM` or the one that holds it.

    Raises:
        InputError: a folder or list is missing, or a line, list or name does not parse.
    """
    root = folder_with(request.source, [*(part.name for *_, part in PARTS), "idx/test_id.txt"])
    images: list[SourceImage] = []
    differences: list[str] = []
    for split, group, part in PARTS:
        listed = []
        for file in training_files(root, part.name) if split == "train" else test_files(root, part.name):
            person, camera = parse_view(file)
            view = {"group": group, "camera": camera, "split": split, "person": person}
            listed.append(source_image(file, root=root, scenario=request.scenario, **view))
        images += listed
        differences += part.differences(listed)
    return Listing(images, require_published("LLCM", differences, request, asserted=False))


def training_files(root: Path, name: str) -> Iterator[Path]:
    """The images of a list; its labels only count what the names of the files say."""
    for image, _ in read_list(root / name):
        yield require_inside(root / image, root=root)


def test_files(root: Path, name: str) -> Iterator[Path]:
    """The images of the test identities in one modality, by identity and camera."""
    for person in read_ids(root / "idx/test_id.txt"):
        for number in CAMERAS:
            yield from image_files(root / name / f"cam{number}" / f"{person:04d}", root=root)


def parse_view(file: Path) -> tuple[int, str]:
    """Identity and camera of a training file, told by its name, or of a test file, told by its folders.

    Raises:
        InputError: neither.
    """
    match = VIEW.search(file.as_posix())
    if match is None:
        raise InputError(
            f"{file}: expected a name such as 0351_c06_s200656_f4830_vis.jpg with a camera c01 to c09. Correct the "
            "list that names it."
        )
    return int(match[2] or match[3]), f"c{match[1] or match[4]}"


FORMAT = Format(
    name="llcm",
    description="LLCM (Zhang and Wang, CVPR 2023): 1,064 identities, 9 cameras, visible and infrared",
    layout="LLCM/{vis,nir}, LLCM/test_{vis,nir}/cam{1..9}/0001/*.jpg and idx/{train_vis,train_nir,test_id}.txt",
    licence="academic research only; sign the authors' agreement",
    read=list_llcm,
    own_groups=True,
)
