"""RSTPReid, with captions.

Reference
    Zhu et al., DSSL: Deep Surroundings-person Separation Learning for Text-based Person Retrieval, ACM MM 2021.
    https://github.com/NjtechCVLab/RSTPReid-Dataset
Layout
    RSTPReid/data_captions.json, a list of {"id": 0, "img_path": "0000_c14_0031.jpg", "captions": [two texts],
    "split": "train"}; paths are relative to RSTPReid/imgs. The images are of MSMT17, of its 15 cameras.
Statistics
    To train on 3,701 identities and 18,505 images; to validate 200 and 1,000; to test 200 and 1,000. As papers count
    them: a difference warns.
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
    name="RSTPReid",
    file="data_captions.json",
    images="imgs",
    pattern=re.compile(r"(?:.+/)?\d+_(c\d+)_[^/]+"),
    example="0000_c14_0031.jpg",
    parts={
        "train": Part("train", 3_701, 18_505),
        "validation": Part("val", 200, 1_000),
        "gallery": Part("test", 200, 1_000),
    },
    path_key="img_path",
)


def list_rstp_reid(request: Request) -> Listing:
    """Lists RSTPReid, of the folder `RSTPReid` or the one that holds it.

    Raises:
        InputError: the json or the images are missing, or an entry is not as expected.
    """
    return list_captions(SET, request)


FORMAT = Format(
    name="rstp-reid",
    description="RSTPReid (Zhu et al., ACM MM 2021): 4,101 identities, two captions an image, 15 cameras",
    layout="RSTPReid/data_captions.json and RSTPReid/imgs",
    licence="academic research only; ask the authors, and those of MSMT17",
    read=list_rstp_reid,
    groups=1,
    own_groups=True,
)
