"""MLR-Market1501, Market-1501 in two resolutions.

Reference
    As MLR-CUHK03 (Jiao et al., Deep Low-Resolution Person Re-Identification, AAAI 2018); of Market-1501, see
    market1501.py.
    https://doi.org/10.1109/ICCV.2015.133
Layout
    Market-1501's folders. Packed: with images that somebody has reduced, 0002_c1s1_000451_03_2x.jpg by a factor of 2.
    Or Market-1501 itself, of which the set is made as low_resolution.py says, Lanczos, with --trial (1 to 10) as seed.
Statistics
    751 identities and 12,936 images to train on.
Test
    Of a person of the test, the query image of the chosen camera asks, and the gallery images of the other cameras
    answer; the person's other images are left out. Distractors stay in the gallery.
Groups
    `high` and `low`.
Licence
    For academic research only; ask the authors of Market-1501.
"""

from __future__ import annotations

from itkm.data.importers.low_resolution import (
    LIKE_MARKET,
    TRIALS,
    choose_cameras,
    list_packed,
    persons_of,
    reduce_images,
)
from itkm.data.importers.market1501 import PARTS, list_market1501
from itkm.data.importers.source import Format, Listing, Request, require_published


def list_mlr_market1501(request: Request) -> Listing:
    """Lists MLR-Market1501, or Market-1501 with what is to be reduced.

    Raises:
        InputError: a folder is missing, a name does not parse, or the statistics differ.
    """
    packed = list_packed(request, LIKE_MARKET)
    if packed:
        train = [image for image in packed if image.row["split"] == "train"]
        differences = PARTS["train"].differences(train)
        return Listing(packed, require_published("MLR-Market1501", differences, request, asserted=True))
    whole = list_market1501(request)
    images = whole.images
    # Only a camera that asks can be chosen in the test.
    cameras = choose_cameras((image for image in images if image.row["split"] != "gallery"), seed=request.trial)
    made = reduce_images(images, cameras, persons_of(images, split="train"), method="lanczos", seed=request.trial)
    kept = [new for new, old in zip(made, images, strict=True) if new.row["split"] == old.row["split"]]
    return Listing(kept, whole.warnings)


FORMAT = Format(
    name="mlr-market1501",
    description="MLR-Market1501, packed or made of Market-1501: 1,501 identities, factors 2 to 4, Lanczos",
    layout="Market-1501-v15.09.15/{bounding_box_train,query,bounding_box_test}/*.jpg, packed *_{2,3,4}x.jpg",
    licence="academic research only; ask the authors of Market-1501",
    read=list_mlr_market1501,
    trials=TRIALS,
    own_groups=True,
)
