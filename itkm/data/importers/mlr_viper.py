"""MLR-VIPeR, made of VIPeR.

Reference
    Jiao et al., Deep Low-Resolution Person Re-Identification, AAAI 2018; of VIPeR: Gray et al., Evaluating Appearance
    Models for Recognition, Reacquisition, and Tracking, PETS 2007.
    https://vision.soe.ucsc.edu/node/178
Layout
    VIPeR/{cam_a,cam_b}/000_45.bmp: identity, angle of view.
Statistics
    632 identities, each with an image of both cameras.
Division
    Half of the identities, 316, to train on: of the sorted ones, a sample by `random` with --trial (1 to 10) as seed.
    The others test. low_resolution.py says what is reduced; bicubic.
Identities
    One more than in the name, as 0 is the number of distractors. cam_a is c1, cam_b is c2.
Groups
    `high` and `low`.
Licence
    For academic research.
"""

from __future__ import annotations

import re

from itkm.data.importers.low_resolution import TRIALS, choose_cameras, persons_of, reduce_images, training_half
from itkm.data.importers.source import (
    Format,
    Listing,
    Part,
    Request,
    SourceImage,
    folder_with,
    image_files,
    require_published,
    source_image,
)
from itkm.errors import InputError

NAME = re.compile(r"(\d+)_\d+\.bmp")
CAMERAS = {"cam_a": "c1", "cam_b": "c2"}

PARTS = [Part("cam_a", 632, 632), Part("cam_b", 632, 632)]


def list_mlr_viper(request: Request) -> Listing:
    """Lists VIPeR, of the folder `VIPeR` or the one that holds it, with what is to be reduced.

    Raises:
        InputError: a folder is missing, a name does not parse, or the statistics differ.
    """
    root = folder_with(request.source, list(CAMERAS))
    images: list[SourceImage] = []
    differences: list[str] = []
    for part in PARTS:
        listed = []
        for file in image_files(root / part.name, root=root):
            match = NAME.fullmatch(file.name)
            if match is None:
                raise InputError(f"{file}: expected a name such as 000_45.bmp. Remove or rename the file.")
            view = {"camera": CAMERAS[part.name], "person": int(match[1]) + 1}
            listed.append(source_image(file, root=root, scenario=request.scenario, **view))
        images += listed
        differences += part.differences(listed)
    warnings = require_published("VIPeR", differences, request, asserted=True)
    cameras = choose_cameras(images, seed=request.trial)
    trained = training_half(persons_of(images, split="train"), trial=request.trial)
    return Listing(reduce_images(images, cameras, trained, method="bicubic", seed=request.trial), warnings)


FORMAT = Format(
    name="mlr-viper",
    description="MLR-VIPeR (Jiao et al., AAAI 2018), made of VIPeR: 632 identities, factors 2 to 4, bicubic",
    layout="VIPeR/{cam_a,cam_b}/*.bmp",
    licence="for research",
    read=list_mlr_viper,
    trials=TRIALS,
    own_groups=True,
)
