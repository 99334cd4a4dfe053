"""LTCC.

Reference
    Qian et al., Long-Term Cloth-Changing Person Re-identification, ACCV 2020.
    https://naiq.github.io/LTCC_Perosn_ReID.html
Layout
    LTCC_ReID/{train,query,test}/094_1_c9_004554.png: identity, clothes, camera, number.
Statistics
    77 identities and 9,576 images to train on; 493 query and 7,050 gallery images; 12 cameras. As papers and docstrings
    count them: a difference warns.
Identities
    Identity 000 becomes 152, the number of them all, as 0 is the number of distractors. Clothes are counted anew for
    each person, so that their number is made of both.
Groups
    All images are `outfit-a`: which outfit a person wears is a label, and training has none. The second group,
    `outfit-b`, is a clothing augmentation [ours, see recolour.py]: a recoloured copy of each training image, whose
    `source` ends in "(recoloured)". The copies do not enter the statistics above.
Licence
    For academic research only; sign the authors' agreement.
"""

from __future__ import annotations

import re
from pathlib import Path

from itkm.data.importers.recolour import recoloured
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

NAME = re.compile(r"(\d+)_(\d{1,3})_c([1-9]|1[0-2])_")
IDENTITIES = 152

PARTS = {
    "train": Part("train", 77, 9_576),
    "query": Part("query", None, 493),
    "gallery": Part("test", None, 7_050),
}


def list_ltcc(request: Request) -> Listing:
    """Lists LTCC, of the folder `LTCC_ReID` or the one that holds it, and the recoloured copies.

    Raises:
        InputError: a folder is missing, or a name does not parse.
    """
    root = folder_with(request.source, [part.name for part in PARTS.values()])
    images: list[SourceImage] = []
    differences: list[str] = []
    for split, part in PARTS.items():
        listed = []
        for file in image_files(root / part.name, root=root):
            person, clothes, camera = parse_name(file)
            view = {"group": "outfit-a", "camera": camera, "split": split, "person": person, "clothes": clothes}
            listed.append(source_image(file, root=root, scenario=request.scenario, **view))
        images += listed
        differences += part.differences(listed)
    images += [recoloured(image, group="outfit-b") for image in images if image.row["split"] == "train"]
    return Listing(images, require_published("LTCC", differences, request, asserted=False))


def parse_name(file: Path) -> tuple[int, int, str]:
    """Identity, clothes and camera of a file of that name.

    Raises:
        InputError: another kind of name.
    """
    match = NAME.match(file.name)
    if match is None:
        raise InputError(
            f"{file}: expected a name such as 094_1_c9_004554.png with a camera c1 to c12. Remove or rename the file."
        )
    person = int(match[1]) or IDENTITIES
    return person, outfit_number(person, int(match[2])), f"c{match[3]}"


FORMAT = Format(
    name="ltcc",
    description="LTCC (Qian et al., ACCV 2020): 152 identities, 12 cameras; recoloured copies as second group [ours]",
    layout="LTCC_ReID/{train,query,test}/*.png",
    licence="academic research only; sign the authors' agreement",
    read=list_ltcc,
    own_groups=True,
)
