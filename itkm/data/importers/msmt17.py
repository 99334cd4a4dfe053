"""MSMT17, V1 and V2 (the same images with the faces blurred).

Reference
    Wei et al., Person Transfer GAN to Bridge Domain Gap for Person Re-Identification, CVPR 2018.
    https://www.pkuvmc.com/dataset.html
Layout
    MSMT17_V1/{train,test}/ (V2: MSMT17_V2/{mask_train_v2,mask_test_v2}/) and list_{train,val,query,gallery}.txt with
    lines such as "0000/0000_000_01_0303morning_0008_0.jpg 0": identity, number, camera, time, frame; label.
Statistics
    1,041 identities and 32,621 images to train on (30,248 of list_train.txt, and 2,373 of list_val.txt, which shows the
    same persons); 3,060 identities, 11,659 query and 82,161 gallery images; 15 cameras.
Identities
    Both halves count from 0, and persons of one number are not the same: 1,041 is added to the labels of the test half.
    Label 0 of the training half becomes 4,101, as 0 is the number of distractors.
Groups
    The authors publish no division into two. Unless groups are given, cameras of odd number are `odd` and the others
    `even` [ours]: enough to evaluate, but give groups that differ in light or place to train on.
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
    read_list,
    require_inside,
    require_published,
    source_image,
)
from itkm.errors import InputError

NAME = re.compile(r"\d+_\d+_(0[1-9]|1[0-5])_")
CAMERAS = tuple(f"c{number}" for number in range(1, 16))
DEFAULT_GROUPS: Groups = {"odd": CAMERAS[::2], "even": CAMERAS[1::2]}
FOLDERS = (("train", "test"), ("mask_train_v2", "mask_test_v2"))
TRAINING_IDENTITIES = 1_041
IDENTITIES = 4_101

PARTS = (
    ("train", Part("list_train.txt", TRAINING_IDENTITIES, 30_248)),
    ("train", Part("list_val.txt", None, 2_373)),
    ("query", Part("list_query.txt", 3_060, 11_659)),
    ("gallery", Part("list_gallery.txt", 3_060, 82_161)),
)


def list_msmt17(request: Request) -> Listing:
    """Lists MSMT17, of the folder `MSMT17_V1` or `MSMT17_V2` or the one that holds it.

    Raises:
        InputError: a folder or list is missing, a line or name does not parse, groups that do not fit, or the
            statistics differ.
    """
    root = folder_with(request.source, [part.name for _, part in PARTS])
    train, test = image_folders(root)
    group_of = group_of_cameras(request.groups or DEFAULT_GROUPS, CAMERAS, source=request.source)
    images: list[SourceImage] = []
    differences: list[str] = []
    for split, part in PARTS:
        listed = []
        for name, label in read_list(root / part.name):
            file = require_inside((train if split == "train" else test) / name, root=root)
            camera = parse_camera(file)
            person = (label or IDENTITIES) if split == "train" else label + TRAINING_IDENTITIES
            view = {"group": group_of[camera], "camera": camera, "split": split, "person": person}
            listed.append(source_image(file, root=root, scenario=request.scenario, **view))
        images += listed
        differences += part.differences(listed)
    return Listing(images, require_published("MSMT17", differences, request, asserted=True))


def image_folders(root: Path) -> tuple[Path, Path]:
    """The folders of training and test images, of either version.

    Raises:
        InputError: neither version's are there.
    """
    for train, test in FOLDERS:
        if (root / train).is_dir() and (root / test).is_dir():
            return root / train, root / test
    raise InputError(
        f"{root}: expected the folders train and test (V1), or mask_train_v2 and mask_test_v2 (V2). Unpack the images "
        "beside the lists."
    )


def parse_camera(file: Path) -> str:
    """The camera of a file of that name.

    Raises:
        InputError: another kind of name.
    """
    match = NAME.match(file.name)
    if match is None:
        raise InputError(
            f"{file}: expected a name such as 0000_000_01_0303morning_0008_0.jpg with a camera 01 to 15. Correct the "
            "list that names it."
        )
    return f"c{int(match[1])}"


FORMAT = Format(
    name="msmt17",
    description="MSMT17 V1 or V2 (Wei et al., CVPR 2018): 4,101 identities, 15 cameras",
    layout="MSMT17_V1/{train,test} or MSMT17_V2/{mask_train_v2,mask_test_v2}, list_{train,val,query,gallery}.txt",
    licence="academic research only; ask the authors",
    read=list_msmt17,
)
