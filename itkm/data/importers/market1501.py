"""Market-1501.

Reference
    Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015.
Layout
    Market-1501-v15.09.15/{bounding_box_train,query,bounding_box_test}/0002_c1s1_000451_03.jpg: identity, camera,
    sequence, frame, detection.
Statistics
    751 identities and 12,936 images to train on; 750 identities, 3,368 query and 15,913 gallery images (without the
    3,819 junk images of identity -1, with the distractors of identity 0); 6 cameras.
Groups
    Five cameras are high-definition, the sixth is not: c1 to c5 are `high` and c6 is `low`, unless groups are given.
Licence
    For academic research only; ask the authors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from itkm.data.importers.source import UNKNOWN, Groups, Listing, SourceImage, group_of_cameras, image_files
from itkm.errors import InputError

NAME = re.compile(r"(-1|\d+)_c([1-6])")
CAMERAS = tuple(f"c{number}" for number in range(1, 7))
DEFAULT_GROUPS: Groups = {"high": CAMERAS[:5], "low": CAMERAS[5:]}
JUNK = -1


@dataclass(frozen=True)
class Part:
    """One folder of the data set, its split, and how many identities (distractors left out) and images it has."""

    folder: str
    split: str
    persons: int
    images: int


PARTS = (
    Part("bounding_box_train", "train", 751, 12_936),
    Part("query", "query", 750, 3_368),
    Part("bounding_box_test", "gallery", 750, 15_913),
)


def list_market1501(source: Path, *, scenario: str, groups: Groups, allow_partial: bool) -> Listing:
    """Lists Market-1501.

    Args:
        source: the folder `Market-1501-v15.09.15`, or the one that holds it.
        scenario: goes into each row.
        groups: the cameras c1 to c6 of each group; empty for the default.
        allow_partial: warn instead of raising where the statistics differ.

    Raises:
        InputError: a folder is missing, a name does not parse, or the statistics differ.
    """
    root = _root(source)
    group_of = group_of_cameras(groups or DEFAULT_GROUPS, CAMERAS, source=source)
    images: list[SourceImage] = []
    differences: list[str] = []
    for part in PARTS:
        listed = _list_part(root, part, scenario=scenario, group_of=group_of)
        images += listed
        differences += _differences(part, listed)
    if differences and not allow_partial:
        raise InputError(
            f"{root}: not the published Market-1501: {'; '.join(differences)}. Get the whole set, or import this copy "
            "with --allow-partial, knowing that its scores cannot be compared with published ones."
        )
    return Listing(images, tuple(differences))


def _root(source: Path) -> Path:
    candidates = [source, *sorted(child for child in source.iterdir() if child.is_dir())]
    for candidate in candidates:
        if all((candidate / part.folder).is_dir() for part in PARTS):
            return candidate
    wanted = ", ".join(part.folder for part in PARTS)
    raise InputError(f"{source}: expected the folders {wanted}. Give the unpacked Market-1501-v15.09.15.")


def _list_part(root: Path, part: Part, *, scenario: str, group_of: dict[str, str]) -> list[SourceImage]:
    listed: list[SourceImage] = []
    for file in image_files(root / part.folder, root=root):
        match = NAME.match(file.name)
        if match is None:
            raise InputError(f"{file}: expected a name such as 0002_c1s1_000451_03.jpg. Remove or rename the file.")
        person, camera = int(match[1]), f"c{match[2]}"
        if person != JUNK:
            row = {
                **UNKNOWN,
                "scenario": scenario,
                "group": group_of[camera],
                "camera": camera,
                "split": part.split,
                "person": person,
                "source": file.relative_to(root).as_posix(),
            }
            listed.append(SourceImage(file, row, where=str(file)))
    return listed


def _differences(part: Part, listed: Iterable[SourceImage]) -> list[str]:
    persons = [image.row["person"] for image in listed]
    found = (len(set(persons) - {0}), len(persons))
    if found == (part.persons, part.images):
        return []
    expected = f"expected {part.persons} identities and {part.images:,} images"
    return [f"{part.folder} has {found[0]} identities and {found[1]:,} images, {expected}"]
