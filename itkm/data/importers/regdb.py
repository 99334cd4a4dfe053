"""RegDB.

Reference
    Nguyen et al., Person Recognition System Based on a Combination of Body Images from Visible Light and Thermal
    Cameras, Sensors 2017; divided in ten ways by Ye et al., Hierarchical Discriminative Learning for Visible Thermal
    Person Re-Identification, AAAI 2018.
    https://doi.org/10.3390/s17030605
Layout
    RegDB/{Visible,Thermal}/17/male_back_v_05528_17.bmp and RegDB/idx/{train,test}_{visible,thermal}_{1..10}.txt with
    lines such as "Visible/17/male_back_v_05528_17.bmp 0": image and label.
Statistics
    Each of the ten divisions: 206 identities, 2,060 visible and 2,060 thermal images to train on, and as many of the
    206 other identities to test with.
Trials
    `--trial 1` to `10` chooses the division. A published score is the mean of ten models, one for each.
Identities
    That of the line: labels count from 0 in both halves; to train on 1 to 206, to test with 207 to 412.
Splits
    Thermal test images are `query`, visible ones `gallery`. To score the other direction, give the feature files to
    `itkm score` the other way round.
Groups
    `visible` and `infrared`; one camera each, c1 and c2.
Licence
    For academic research only; ask the authors.
"""

from __future__ import annotations

from itkm.data.importers.source import (
    Format,
    Listing,
    Part,
    Request,
    SourceImage,
    folder_with,
    read_list,
    require_inside,
    require_published,
    source_image,
)

IDENTITIES = 206  # of each half
IMAGES = 2_060  # of each half and modality

PARTS = (
    ("train", "visible", "c1", Part("train_visible", IDENTITIES, IMAGES)),
    ("train", "infrared", "c2", Part("train_thermal", IDENTITIES, IMAGES)),
    ("query", "infrared", "c2", Part("test_thermal", IDENTITIES, IMAGES)),
    ("gallery", "visible", "c1", Part("test_visible", IDENTITIES, IMAGES)),
)


def list_regdb(request: Request) -> Listing:
    """Lists one division of RegDB, of the folder `RegDB` or the one that holds it.

    Raises:
        InputError: a folder or list is missing, a line does not parse, or the statistics differ.
    """
    lists = {part.name: f"idx/{part.name}_{request.trial}.txt" for *_, part in PARTS}
    root = folder_with(request.source, ["Visible", "Thermal", *lists.values()])
    images: list[SourceImage] = []
    differences: list[str] = []
    for split, group, camera, part in PARTS:
        listed = []
        for name, label in read_list(root / lists[part.name]):
            file = require_inside(root / name, root=root)
            person = label + 1 if split == "train" else label + 1 + IDENTITIES
            view = {"group": group, "camera": camera, "split": split, "person": person}
            listed.append(source_image(file, root=root, scenario=request.scenario, **view))
        images += listed
        differences += part.differences(listed)
    return Listing(images, require_published(f"RegDB, trial {request.trial}", differences, request, asserted=True))


FORMAT = Format(
    name="regdb",
    description="RegDB (Nguyen et al., Sensors 2017): 412 identities, one visible and one thermal camera",
    layout="RegDB/{Visible,Thermal}/1/*.bmp and idx/{train,test}_{visible,thermal}_{1..10}.txt",
    licence="academic research only; ask the authors",
    read=list_regdb,
    trials=10,
    own_groups=True,
)
