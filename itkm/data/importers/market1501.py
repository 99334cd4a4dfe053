"""Market-1501.

Reference
    Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015.
    https://doi.org/10.1109/ICCV.2015.133
Layout
    Market-1501-v15.09.15/{bounding_box_train,query,bounding_box_test}/0002_c1s1_000451_03.jpg: identity, camera,
    sequence, frame, detection.
Statistics
    751 identities and 12,936 images to train on; 750 identities, 3,368 query and 15,913 gallery images (without the
    3,819 junk images of identity -1, with the distractors of identity 0); 6 cameras.
Groups
    Five cameras are high-definition, the sixth is not: c1 to c5 are `high` and c6 is `low`, unless groups are given.
Licence
    For academic research only; ask the authors.
"""

from __future__ import annotations

import re
from pathlib import Path

from itkm.data.importers.source import (
    Format,
    Groups,
    Listing,
    Part,
    Request,
    SourceImage,
    folder_with,
    group_of_cameras,
    image_files,
    require_published,
    source_image,
)
from itkm.errors import InputError

NAME = re.compile(r"(-1|\d+)_c([1-6])")
CAMERAS = tuple(f"c{number}" for number in range(1, 7))
DEFAULT_GROUPS: Groups = {"high": CAMERAS[:5], "low": CAMERAS[5:]}
JUNK = -1


PARTS = {
    "train": Part("bounding_box_train", 751, 12_936),
    "query": Part("query", 750, 3_368),
    "gallery": Part("bounding_box_test", 750, 15_913),
}


def list_market1501(request: Request) -> Listing:
    """Lists Market-1501, of the folder `Market-1501-v15.09.15` or the one that holds it.

    Raises:
        InputError: a folder is missing, a name does not parse, groups that do not fit, or the statistics differ.
    """
    root = folder_with(request.source, [part.name for part in PARTS.values()])
    group_of = group_of_cameras(request.groups or DEFAULT_GROUPS, CAMERAS, source=request.source)
    images: list[SourceImage] = []
    differences: list[str] = []
    for split, part in PARTS.items():
        listed = []
        for file in image_files(root / part.name, root=root):
            person, camera = parse_name(file)
            if person != JUNK:
                view = {"group": group_of[camera], "camera": camera, "split": split, "person": person}
                listed.append(source_image(file, root=root, scenario=request.scenario, **view))
        images += listed
        differences += part.differences(listed)
    return Listing(images, require_published("Market-1501", differences, request, asserted=True))


def parse_name(file: Path) -> tuple[int, str]:
    """Identity and camera of a file of that name.

    Raises:
        InputError: another kind of name.
    """
    match = NAME.match(file.name)
    if match is None:
        raise InputError(f"{file}: expected a name such as 0002_c1s1_000451_03.jpg. Remove or rename the file.")
    return int(match[1]), f"c{match[2]}"


FORMAT = Format(
    name="market1501",
    description="Market-1501 (Zheng et al., ICCV 2015): 1,501 identities, 6 cameras",
    layout="Market-1501-v15.09.15/{bounding_box_train,query,bounding_box_test}/*.jpg",
    licence="academic research only; ask the authors",
    read=list_market1501,
)
