"""CUHK03, new protocol.

Reference
    Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017.
    https://doi.org/10.1109/CVPR.2017.389
Layout
    cuhk03_new_protocol_config_labeled.mat (MATLAB 5): `filelist`, and `train_idx`, `query_idx`, `gallery_idx`, places
    in it from 1. With the images of CUHK03 in the same folder or in one below: cuhk-03.mat, or images_labeled.
    The same with `detected` instead of `labeled`.
Statistics
    767 identities to train on and 700 to test; labeled: 7,368 images to train on, 1,400 query and 5,328 gallery images;
    detected: 7,365, 1,400 and 5,332.
Groups
    As of CUHK03.
Licence
    For academic research only; ask the authors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from itkm.data.importers.cuhk03 import CAMERAS, DEFAULT_GROUPS, Boxes, find_images, read_images
from itkm.data.importers.source import (
    Format,
    Listing,
    Part,
    Request,
    SourceImage,
    folder_with,
    group_of_cameras,
    require_published,
)
from itkm.errors import InputError

PARTS: Mapping[Boxes, Mapping[str, Part]] = {
    "labeled": {
        "train": Part("train", 767, 7_368),
        "query": Part("query", 700, 1_400),
        "gallery": Part("gallery", 700, 5_328),
    },
    "detected": {
        "train": Part("train", 767, 7_365),
        "query": Part("query", 700, 1_400),
        "gallery": Part("gallery", 700, 5_332),
    },
}


def list_cuhk03_np(request: Request, *, boxes: Boxes = "labeled") -> Listing:
    """Lists CUHK03 as the new protocol divides it.

    Raises:
        InputError: a file is missing or cannot be read, names an image that is not there, groups that do not fit, or
            the statistics differ.
    """
    config = f"cuhk03_new_protocol_config_{boxes}.mat"
    root = folder_with(request.source, [config])
    group_of = group_of_cameras(request.groups or DEFAULT_GROUPS, CAMERAS, source=request.source)
    found = read_images(find_images(root, boxes), boxes, scenario=request.scenario)
    images: list[SourceImage] = []
    differences: list[str] = []
    for split, names in _read_division(root / config).items():
        listed = []
        for name in names:
            if name not in found:
                raise InputError(f"{root / config}: names {name!r}, which is not there. Get the whole CUHK03.")
            row = {**found[name].row, "group": group_of[str(found[name].row["camera"])], "split": split}
            listed.append(replace(found[name], row=row))
        images += listed
        differences += PARTS[boxes][split].differences(listed)
    return Listing(images, require_published(f"CUHK03-NP ({boxes})", differences, request, asserted=True))


def _read_division(file: Path) -> dict[str, list[str]]:
    """The names of the images of each split."""
    from scipy.io import loadmat  # here, as it takes long to import

    keys = {"train": "train_idx", "query": "query_idx", "gallery": "gallery_idx"}
    try:
        config = loadmat(file, variable_names=["filelist", *keys.values()], chars_as_strings=True)
        names = [str(np.squeeze(name)[()]) for name in config["filelist"].ravel()]
        places = {split: config[key].ravel().astype(int) - 1 for split, key in keys.items()}
        if any(place < 0 for own in places.values() for place in own):
            raise IndexError("a place below 1")
        return {split: [names[place] for place in own] for split, own in places.items()}
    except Exception as error:  # a damaged file can make the library raise anything
        raise InputError(
            f"{file}: cannot be read as a division ({error}). Expected MATLAB 5 with filelist, train_idx, query_idx, "
            "gallery_idx; get the file again."
        ) from error


FORMAT = Format(
    name="cuhk03-np",
    description="CUHK03, new protocol (Zhong et al., CVPR 2017): 767 / 700 identities, boxes drawn by hand",
    layout="cuhk03_new_protocol_config_labeled.mat with cuhk-03.mat or images_labeled/*.png",
    licence="academic research only; ask the authors",
    read=list_cuhk03_np,
)
DETECTED = Format(
    name="cuhk03-np-detected",
    description="CUHK03, new protocol (Zhong et al., CVPR 2017): 767 / 700 identities, boxes of a detector",
    layout="cuhk03_new_protocol_config_detected.mat with cuhk-03.mat or images_detected/*.png",
    licence="academic research only; ask the authors",
    read=partial(list_cuhk03_np, boxes="detected"),
)
