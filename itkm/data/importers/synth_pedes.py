"""SYNTH-PEDES, real persons with synthetic captions, to train on.

Reference
    Zuo et al., PLIP: Language-Image Pre-training for Person Representation Learning, NeurIPS 2024.
    https://github.com/Zplusdragon/PLIP
Layout
    SYNTH-PEDES/synthpedes-dataset.json, a list of {"id": 7, "file_path": "Part1/7/1.jpg", "attributes": [...],
    "captions": [two or three texts], "prompt_caption": [...]}; paths are relative to SYNTH-PEDES.
    Nobody is seen by two cameras, and which images share one is not known: all are of camera c1.
Statistics
    312,321 identities and 4,791,711 images, all to train on. As the paper counts them: a difference warns.
Identities
    One more than the id, as 0 is the number of distractors.
Groups
    One, `visible`: to embed and search, not to train on with two groups.
Licence
    For research only; any commercial use is forbidden.
"""

from __future__ import annotations

import re

from itkm.data.importers.captions import CaptionSet, list_captions
from itkm.data.importers.source import Format, Listing, Part, Request

SET = CaptionSet(
    name="SYNTH-PEDES",
    file="synthpedes-dataset.json",
    images=".",
    pattern=re.compile(r"Part\d+/.+"),
    example="Part1/7/1.jpg",
    parts={"train": Part("the set", 312_321, 4_791_711)},
    defaults={"split": "train"},
)


def list_synth_pedes(request: Request) -> Listing:
    """Lists SYNTH-PEDES, of the folder `SYNTH-PEDES` or the one that holds it.

    Raises:
        InputError: the json is missing, or an entry is not as expected.
    """
    return list_captions(SET, request)


FORMAT = Format(
    name="synth-pedes",
    description="SYNTH-PEDES (Zuo et al., NeurIPS 2024): 312,321 identities, synthetic captions, no test",
    layout="SYNTH-PEDES/synthpedes-dataset.json and SYNTH-PEDES/Part*",
    licence="research only; no commercial use",
    read=list_synth_pedes,
    groups=1,
    own_groups=True,
)
