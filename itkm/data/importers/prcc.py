"""PRCC.

Reference
    Yang et al., Person Re-identification by Contour Sketch under Moderate Clothing Change, TPAMI 2019.
    https://www.isee-ai.cn/~yangqize/clothing.html
Layout
    prcc/rgb/train/001/A_cropped_rgb001.jpg: identity, camera, number.
    prcc/rgb/test/A/001/cropped_rgb001.jpg: camera, identity, number.
Statistics
    150 identities and 17,896 images to train on; 71 identities, 3,384 gallery images (camera A), 3,543 queries in the
    same clothes (B) and 3,873 in others (C). As papers and docstrings count them: a difference warns.
Splits
    rgb/val shows the training identities once more (5,002 images). It is left out, as published code does: as
    validation it would judge what was trained on.
Groups
    Each person wears one outfit before cameras A and B and another before C: A and B are `outfit-a`, C is `outfit-b`.
Licence
    For academic research only; ask the authors.
"""

from __future__ import annotations

import re
from pathlib import Path

from itkm.data.importers.source import (
    Format,
    Listing,
    Part,
    Request,
    SourceImage,
    folder_with,
    image_files,
    outfit_number,
    require_published,
    source_image,
)
from itkm.errors import InputError

VIEW = re.compile(r"/train/(\d+)/([ABC])_[^/]+$|/test/([ABC])/(\d+)/[^/]+$")
OUTFITS = {"A": "outfit-a", "B": "outfit-a", "C": "outfit-b"}

PARTS = (
    ("train", Part("rgb/train", 150, 17_896)),
    ("query", Part("rgb/test/B", 71, 3_543)),
    ("query", Part("rgb/test/C", 71, 3_873)),
    ("gallery", Part("rgb/test/A", 71, 3_384)),
)


def list_prcc(request: Request) -> Listing:
    """Lists PRCC, of the folder `prcc` or the one that holds it.

    Raises:
        InputError: a folder is missing, or a name does not parse.
    """
    root = folder_with(request.source, [part.name for _, part in PARTS])
    images: list[SourceImage] = []
    differences: list[str] = []
    for split, part in PARTS:
        listed = []
        for file in image_files(root / part.name, root=root):
            person, camera = parse_view(file)
            clothes = outfit_number(person, int(camera == "C"))
            view = {"group": OUTFITS[camera], "camera": camera, "split": split, "person": person, "clothes": clothes}
            listed.append(source_image(file, root=root, scenario=request.scenario, **view))
        images += listed
        differences += part.differences(listed)
    return Listing(images, require_published("PRCC", differences, request, asserted=False))


def parse_view(file: Path) -> tuple[int, str]:
    """Identity and camera of a file, told by its folders and, to train on, by the first letter of its name.

    Raises:
        InputError: another kind of place or name.
    """
    match = VIEW.search(file.as_posix())
    if match is None:
        raise InputError(
            f"{file}: expected rgb/train/001/A_cropped_rgb001.jpg or rgb/test/A/001/cropped_rgb001.jpg with a camera "
            "A, B or C. Move or remove the file."
        )
    return int(match[1] or match[4]), match[2] or match[3]


FORMAT = Format(
    name="prcc",
    description="PRCC (Yang et al., TPAMI 2019): 221 identities, 3 cameras, two outfits",
    layout="prcc/rgb/train/001/{A,B,C}_*.jpg and prcc/rgb/test/{A,B,C}/001/*.jpg",
    licence="academic research only; ask the authors",
    read=list_prcc,
    own_groups=True,
)
