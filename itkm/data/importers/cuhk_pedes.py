"""CUHK-PEDES, with captions.

Reference
    Li et al., Person Search with Natural Language Description, CVPR 2017.
    https://github.com/ShuangLI59/Person-Search-with-Natural-Language-Description
Layout
    CUHK-PEDES/reid_raw.json, a list of {"split": "train", "captions": [two texts], "file_path": "cam_a/0001.jpg",
    "id": 1}; paths are relative to CUHK-PEDES/imgs. The first folder of a path, the set that the image is from, stands
    for the camera, which nobody published.
Statistics
    To train on 11,003 identities and 34,054 images; to validate 1,000 and 3,078; to test 1,000 and 3,074. As papers
    count them: a difference warns.
Groups
    One, `visible`: to embed, search and score, not to train on.
Licence
    For academic research only; ask the authors.
"""

from __future__ import annotations

import re

from itkm.data.importers.captions import CaptionSet, list_captions
from itkm.data.importers.source import Format, Listing, Part, Request

SET = CaptionSet(
    name="CUHK-PEDES",
    file="reid_raw.json",
    images="imgs",
    pattern=re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,63})/.+"),
    example="cam_a/0001.jpg",
    parts={
        "train": Part("train", 11_003, 34_054),
        "validation": Part("val", 1_000, 3_078),
        "gallery": Part("test", 1_000, 3_074),
    },
    first_id=1,
)


def list_cuhk_pedes(request: Request) -> Listing:
    """Lists CUHK-PEDES, of the folder `CUHK-PEDES` or the one that holds it.

    Raises:
        InputError: the json or the images are missing, or an entry is not as expected.
    """
    return list_captions(SET, request)


FORMAT = Format(
    name="cuhk-pedes",
    description="CUHK-PEDES (Li et al., CVPR 2017): 13,003 identities, two captions an image",
    layout="CUHK-PEDES/reid_raw.json and CUHK-PEDES/imgs",
    licence="academic research only; ask the authors",
    read=list_cuhk_pedes,
    groups=1,
    own_groups=True,
)
