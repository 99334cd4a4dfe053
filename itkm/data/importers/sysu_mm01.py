"""SYSU-MM01.

Reference
    Wu et al., RGB-Infrared Cross-Modality Person Re-Identification, ICCV 2017.
    https://github.com/wuancong/SYSU-MM01
Layout
    SYSU-MM01/cam{1..6}/0001/0001.jpg: camera, identity, number; a person is not seen by every camera.
    SYSU-MM01/exp/{train_id,val_id,test_id}.txt: one line of identities with commas between them.
Statistics
    395 identities (train_id and val_id), 22,258 visible and 11,909 infrared images to train on; 96 identities, 3,803
    infrared queries, and 301 pairs of a test identity and a visible camera that saw it.
Splits
    All visible images of the test identities are `gallery`: the protocols draw theirs from these, one or ten of each
    identity and camera, and `sysu-indoor` leaves the cameras 4 and 5 out.
Groups
    Cameras 1, 2, 4 and 5 are `visible`, 3 and 6 `infrared`.
Licence
    For academic research only; sign the authors' agreement.
"""

from __future__ import annotations

from itkm.data.importers.source import (
    Format,
    Listing,
    Part,
    Request,
    SourceImage,
    folder_with,
    image_files,
    read_ids,
    require_published,
    source_image,
)

CAMERAS = {"visible": (1, 2, 4, 5), "infrared": (3, 6)}
TRAINING_IDS = ("exp/train_id.txt", "exp/val_id.txt")
TEST_IDS = ("exp/test_id.txt",)

PARTS = (
    ("train", "visible", TRAINING_IDS, Part("visible training half", 395, 22_258)),
    ("train", "infrared", TRAINING_IDS, Part("infrared training half", 395, 11_909)),
    ("query", "infrared", TEST_IDS, Part("infrared test half", 96, 3_803)),
    ("gallery", "visible", TEST_IDS, Part("visible test half", 96, None)),
)
DRAWN = Part("a gallery of one visible test image per identity and camera", 96, 301)


def list_sysu_mm01(request: Request) -> Listing:
    """Lists SYSU-MM01, of the folder `SYSU-MM01` or the one that holds it.

    Raises:
        InputError: a folder or list is missing, a list does not parse, or the statistics differ.
    """
    folders = [f"cam{number}" for numbers in CAMERAS.values() for number in numbers]
    root = folder_with(request.source, [*folders, *TRAINING_IDS, *TEST_IDS])
    images: list[SourceImage] = []
    differences: list[str] = []
    for split, group, id_files, part in PARTS:
        listed = []
        for person in sorted(person for name in id_files for person in read_ids(root / name)):
            for number in CAMERAS[group]:
                for file in image_files(root / f"cam{number}" / f"{person:04d}", root=root):
                    view = {"group": group, "camera": f"c{number}", "split": split, "person": person}
                    listed.append(source_image(file, root=root, scenario=request.scenario, **view))
        images += listed
        differences += part.differences(listed)
    gallery = (image for image in images if image.row["split"] == "gallery")
    differences += DRAWN.differences({(image.row["person"], image.row["camera"]): image for image in gallery}.values())
    return Listing(images, require_published("SYSU-MM01", differences, request, asserted=True))


FORMAT = Format(
    name="sysu-mm01",
    description="SYSU-MM01 (Wu et al., ICCV 2017): 491 identities, 4 visible and 2 infrared cameras",
    layout="SYSU-MM01/cam{1..6}/0001/*.jpg and exp/{train_id,val_id,test_id}.txt",
    licence="academic research only; sign the authors' agreement",
    read=list_sysu_mm01,
    own_groups=True,
)
