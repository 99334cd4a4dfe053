"""What all importers share: the listing that each returns, safe walks, and the mapping of cameras to groups."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from itkm.data.manifest import name_rows
from itkm.errors import InputError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
Groups = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class SourceImage:
    """One image of a source before it is packed.

    Attributes:
        file: where its content lies.
        row: the columns of the manifest, without `path` and `shard`; an empty `resolution` is measured on import.
        where: what an error calls it, a file or a line of a table.
    """

    file: Path
    row: Mapping[str, object]
    where: str


@dataclass(frozen=True)
class Listing:
    """The images of a source in their final order, and what the user should know about them."""

    images: list[SourceImage]
    warnings: tuple[str, ...] = ()


# An image of which nothing else is known is one to train on.
UNKNOWN: Mapping[str, object] = {
    "split": "train",
    "person": -1,
    "clothes": -1,
    "resolution": "",
    "timestamp": "",
    "caption": "",
}


def image_files(folder: Path, *, root: Path) -> Iterator[Path]:
    """All image files below `folder`, sorted, without hidden ones.

    Raises:
        InputError: a symbolic link leads out of `root`.
    """
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        for name in folders:
            require_inside(Path(here, name), root=root)
        for name in sorted(files):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield require_inside(Path(here, name), root=root)


def require_inside(path: Path, *, root: Path) -> Path:
    """`path` itself, if it still lies in `root` after links are followed.

    Raises:
        InputError: it does not.
    """
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{path}: leads out of {root}. Copy what it points to into the folder and import again.")
    return path


def parse_groups(options: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Parses `--group` options such as "high=cam1,cam2".

    Raises:
        InputError: not NAME=CAMERA,CAMERA, or a name given twice.
    """
    groups: dict[str, tuple[str, ...]] = {}
    for option in options:
        name, _, cameras = option.partition("=")
        listed = tuple(camera.strip() for camera in cameras.split(",") if camera.strip())
        if not name.strip() or not listed:
            raise InputError(f"--group {option}: expected NAME=CAMERA,CAMERA such as --group high=cam1,cam2.")
        if name.strip() in groups:
            raise InputError(f"--group {option}: group {name.strip()!r} is given twice. Name all its cameras at once.")
        groups[name.strip()] = listed
    return groups


def group_of_cameras(groups: Groups, cameras: Sequence[str], *, source: Path) -> dict[str, str]:
    """The group of each camera.

    Args:
        groups: two groups and their cameras; empty where the user gave none.
        cameras: the cameras that the source has.
        source: named in errors.

    Raises:
        InputError: not two groups, a camera that does not exist, stands in no group or in two.
    """
    example = _example(cameras)
    if len(groups) != 2:
        raise InputError(
            f"{source}: {len(groups)} groups given, expected two that divide the cameras {name_rows(cameras)}. "
            f"Say which camera belongs to which, for instance {example}."
        )
    group_of: dict[str, str] = {}
    for group, members in groups.items():
        for camera in members:
            if camera in group_of:
                raise InputError(f"--group: camera {camera!r} is given twice. Put it in one group: {example}.")
            group_of[camera] = group
    unknown = sorted(set(group_of) - set(cameras))
    without = sorted(set(cameras) - set(group_of))
    if unknown:
        raise InputError(f"{source}: no camera {name_rows(unknown)}; there are {name_rows(cameras)}. Use {example}.")
    if without:
        raise InputError(f"{source}: cameras {name_rows(without)} stand in no group. Add them, as in {example}.")
    return group_of


def _example(cameras: Sequence[str]) -> str:
    half = max(1, len(cameras) // 2)
    first, second = ",".join(cameras[:half]), ",".join(cameras[half:]) or "CAMERA"
    return f"--group high={first} --group low={second}"
