"""ICFG-PEDES, with captions.

Reference
    Ding et al., Semantically Self-Aligned Network for Text-to-Image Part-aware Person Re-identification, arXiv
    2107.12666.
    https://github.com/zifyloo/SSAN
Layout
    ICFG-PEDES/ICFG-PEDES.json, a list of {"split": "train", "captions": [a text], "file_path":
    "test/0627/0627_010_05_0303afternoon_1591_0.jpg", "id": 0}; paths are relative to ICFG-PEDES/imgs. The images are of
    MSMT17: the third number is the camera.
Statistics
    To train on 3,102 identities and 34,674 images; to test 1,000 and 19,848. As papers count them: a difference warns.
Identities
    One more than the id, as 0 is the number of distractors.
Groups
    One, `visible`: to embed, search and score, not to train on.
Licence
    For academic research only; ask the authors, and those of MSMT17.
"""

from __future__ import annotations

import re

from itkm.data.importers.captions import CaptionSet, list_captions
from itkm.data.importers.source import Format, Listing, Part, Request

SET = CaptionSet(
    name="ICFG-PEDES",
    file="ICFG-PEDES.json",
    images="imgs",
    pattern=re.compile(r"(?:.+/)?\d+_\d+_(\d\d)_[^/]+"),
    example="test/0627/0627_010_05_0303afternoon_1591_0.jpg",
    parts={"train": Part("train", 3_102, 34_674), "gallery": Part("test", 1_000, 19_848)},
)


def list_icfg_pedes(request: Request) -> Listing:
    """Lists ICFG-PEDES, of the folder `ICFG-PEDES` or the one that holds it.

    Raises:
        InputError: the json or the images are missing, or an entry is not as expected.
    """
    return list_captions(SET, request)


FORMAT = Format(
    name="icfg-pedes",
    description="ICFG-PEDES (Ding et al., 2021): 4,102 identities, one caption an image, 15 cameras",
    layout="ICFG-PEDES/ICFG-PEDES.json and ICFG-PEDES/imgs",
    licence="academic research only; ask the authors, and those of MSMT17",
    read=list_icfg_pedes,
    groups=1,
    own_groups=True,
)
