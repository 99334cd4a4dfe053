"""VC-Clothes, rendered by a computer game.

Reference
    Wan et al., When Person Re-identification Meets Changing Clothes, CVPR Workshops 2020.
    https://wanfb.github.io/dataset.html
Layout
    VC-Clothes/{train,query,gallery}/0001-01-01-01.jpg: identity, camera, clothes, number.
Statistics
    256 identities and 9,449 images to train on; 1,020 query and 8,591 gallery images; 4 cameras. As papers and
    docstrings count them: a difference warns.
Groups
    A person wears the same clothes before cameras 2 and 3 and others before 4; what camera 1 shows is not published.
    Cameras 1 to 3 are `outfit-a` and 4 is `outfit-b`, unless groups are given.
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
    outfit_number,
    require_published,
    source_image,
)
from itkm.errors import InputError

NAME = re.compile(r"(\d+)-0?([1-4])-(\d{1,3})-\d+")
CAMERAS = tuple(f"c{number}" for number in range(1, 5))
DEFAULT_GROUPS: Groups = {"outfit-a": CAMERAS[:3], "outfit-b": CAMERAS[3:]}

PARTS = {
    "train": Part("train", 256, 9_449),
    "query": Part("query", None, 1_020),
    "gallery": Part("gallery", None, 8_591),
}


def list_vc_clothes(request: Request) -> Listing:
    """Lists VC-Clothes, of the folder `VC-Clothes` or the one that holds it.

    Raises:
        InputError: a folder is missing, a name does not parse, or groups that do not fit.
    """
    root = folder_with(request.source, [part.name for part in PARTS.values()])
    group_of = group_of_cameras(request.groups or DEFAULT_GROUPS, CAMERAS, source=request.source)
    images: list[SourceImage] = []
    differences: list[str] = []
    for split, part in PARTS.items():
        listed = []
        for file in image_files(root / part.name, root=root):
            person, clothes, camera = parse_name(file)
            view = {"group": group_of[camera], "camera": camera, "split": split, "person": person, "clothes": clothes}
            listed.append(source_image(file, root=root, scenario=request.scenario, **view))
        images += listed
        differences += part.differences(listed)
    return Listing(images, require_published("VC-Clothes", differences, request, asserted=False))


def parse_name(file: Path) -> tuple[int, int, str]:
    """Identity, clothes and camera of a file of that name.

    Raises:
        InputError: another kind of name.
    """
    match = NAME.match(file.name)
    if match is None:
        raise InputError(
            f"{file}: expected a name such as 0001-01-01-01.jpg with a camera 01 to 04. Remove or rename the file."
        )
    person = int(match[1])
    return person, outfit_number(person, int(match[3])), f"c{match[2]}"


FORMAT = Format(
    name="vc-clothes",
    description="VC-Clothes (Wan et al., CVPR Workshops 2020): 512 rendered identities, 4 cameras",
    layout="VC-Clothes/{train,query,gallery}/*.jpg",
    licence="academic research only; ask the authors",
    read=list_vc_clothes,
)
