"""MLR-CUHK03, CUHK03 in two resolutions.

Reference
    Jiao et al., Deep Low-Resolution Person Re-Identification, AAAI 2018; of CUHK03, see cuhk03.py.
    https://doi.org/10.1109/CVPR.2014.27
Layout
    Packed: {train/lr,train/hr,query/lr,gallery/hr}/0001_c1_..._2x.png, or Market's folders bounding_box_train, query,
    bounding_box_test with such names: identity, camera, and the factor of what is reduced. One division.
    Or CUHK03 itself, of which the set is made as low_resolution.py says, bilinear, of the boxes drawn by hand: division
    --trial (1 to 10) is CUHK03's own, and the seed of the cameras and factors.
Statistics
    1,367 identities to train on, 100 to test.
Groups
    `high` and `low`.
Licence
    For academic research only; ask the authors of CUHK03.
"""

from __future__ import annotations

from itkm.data.importers.cuhk03 import list_cuhk03
from itkm.data.importers.low_resolution import (
    BY_RESOLUTION,
    LIKE_MARKET,
    TRIALS,
    choose_cameras,
    list_packed,
    persons_of,
    reduce_images,
)
from itkm.data.importers.source import Format, Listing, Part, Request, require_published

IDENTITIES = 1467

PARTS = {"train": Part("train", 1367, None), "query": Part("query", 100, None), "gallery": Part("gallery", 100, None)}


def list_mlr_cuhk03(request: Request) -> Listing:
    """Lists MLR-CUHK03, or CUHK03 with what is to be reduced.

    Raises:
        InputError: neither is there, a name does not parse, or the statistics differ.
    """
    packed = list_packed(request, BY_RESOLUTION, LIKE_MARKET, zero=IDENTITIES)  # some count from 0, some from 1
    if not packed:
        whole = list_cuhk03(request)
        cameras = choose_cameras(whole.images, seed=request.trial)
        trained = persons_of(whole.images, split="train")
        made = reduce_images(whole.images, cameras, trained, method="bilinear", seed=request.trial)
        return Listing(made, whole.warnings)
    differences = [
        difference
        for split, part in PARTS.items()
        for difference in part.differences(image for image in packed if image.row["split"] == split)
    ]
    return Listing(packed, require_published("MLR-CUHK03", differences, request, asserted=True))


FORMAT = Format(
    name="mlr-cuhk03",
    description="MLR-CUHK03 (Jiao et al., AAAI 2018), packed or made of CUHK03, factors 2 to 4, bilinear",
    layout="{train/lr,train/hr,query/lr,gallery/hr}/*.png, or CUHK03",
    licence="academic research only; ask the authors of CUHK03",
    read=list_mlr_cuhk03,
    trials=TRIALS,
    own_groups=True,
)
