"""CAVIAR4REID.

Reference
    Cheng et al., Custom Pictorial Structures for Re-identification, BMVC 2011.
    https://lorisbaz.github.io/caviar4reid.html
Layout
    CAVIAR4REID/0001001.jpg, all in one folder: identity (four digits), image (three).
Statistics
    72 identities and 1,220 images. Used are the 50 with 20 images, seen by both cameras: the first ten are of high
    resolution, c1, and the last ten of low resolution, c2.
Division
    25 of the sorted 50 identities to train on, a sample by `random` with --trial (1 to 10) as seed; 25 to test, their
    images of low resolution as queries and those of high resolution as gallery.
Groups
    `high` and `low`.
Licence
    For research; cite the authors.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from itkm.data.importers.low_resolution import TRIALS, training_half
from itkm.data.importers.source import (
    Format,
    Listing,
    Part,
    Request,
    SourceImage,
    image_files,
    require_published,
    source_image,
)
from itkm.errors import InputError

NAME = re.compile(r"(\d{4})(\d{3})\.jpg")
HIGH = 10  # images of an identity
BOTH = 20

WHOLE = Part("the folder", 72, 1220)
USED = Part("what two cameras see", 50, 1000)


def list_caviar(request: Request) -> Listing:
    """Lists CAVIAR4REID as division `request.trial` divides it.

    Raises:
        InputError: a name does not parse, or the statistics differ.
    """
    files: dict[int, list[Path]] = defaultdict(list)
    for file in image_files(request.source, root=request.source):
        match = NAME.fullmatch(file.name)
        if match is None:
            raise InputError(f"{file}: expected a name such as 0001001.jpg. Remove or rename the file.")
        files[int(match[1])].append(file)
    both = {person for person, own in files.items() if len(own) == BOTH}
    trained = training_half(both, trial=request.trial)
    images: list[SourceImage] = []
    for person, own in sorted(files.items()):
        for place, file in enumerate(sorted(own, key=lambda file: file.name)):
            group, camera, role = ("high", "c1", "gallery") if place < HIGH else ("low", "c2", "query")
            split = "train" if person in trained else role
            view = {"group": group, "camera": camera, "split": split, "person": person}
            images.append(source_image(file, root=request.source, scenario=request.scenario, **view))
    used = [image for image in images if image.row["person"] in both]
    differences = [*WHOLE.differences(images), *USED.differences(used)]
    return Listing(used, require_published("CAVIAR4REID", differences, request, asserted=True))


FORMAT = Format(
    name="caviar4reid",
    description="CAVIAR4REID (Cheng et al., BMVC 2011): 50 identities of two resolutions, 10 divisions",
    layout="CAVIAR4REID/*.jpg",
    licence="for research; cite the authors",
    read=list_caviar,
    trials=TRIALS,
    own_groups=True,
)
