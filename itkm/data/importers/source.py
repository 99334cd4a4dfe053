"""What all importers share: request, listing, format, published statistics, safe walks, groups of cameras."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from itkm.data.manifest import name_rows
from itkm.errors import InputError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
Groups = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Request:
    """What a user wants to import.

    Attributes:
        source: the data set's folder, or the table's file.
        scenario: goes into each row.
        groups: the cameras of each group where the format asks for them; may be empty.
        allow_partial: warn instead of raising where the statistics differ.
        trial: which of the published (or seeded) divisions of the identities, from 1, where a format has several.
    """

    source: Path
    scenario: str
    groups: Groups
    allow_partial: bool = False
    trial: int = 1


@dataclass(frozen=True)
class SourceImage:
    """One image of a source before it is packed.

    Attributes:
        file: where its content lies.
        row: the columns of the manifest, without `path` and `shard`; an empty `resolution` is measured on import.
        where: what an error calls it, a file or a line of a table.
        read: gives the encoded image where it is not the file's own content: a record of a data base, or an image that
            is made from the file. Called once, in the order of the listing.
    """

    file: Path
    row: Mapping[str, object]
    where: str
    read: Callable[[], bytes] | None = None


@dataclass(frozen=True)
class Listing:
    """The images of a source in their final order, and what the user should know about them."""

    images: list[SourceImage]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """A format that can be imported, as `itkm data formats` tells of it.

    Attributes:
        name: what users type.
        description, layout, licence: in words.
        read: lists the images of a source of this format, without decoding them.
        trials: how many divisions of the identities there are.
        source_is_file: whether the source is a file rather than a folder.
        groups: how many groups its images form.
        own_groups: whether it says itself which group an image is of, so that --group is refused.
    """

    name: str
    description: str
    layout: str
    licence: str
    read: Callable[[Request], Listing]
    trials: int = 1
    source_is_file: bool = False
    groups: int = 2
    own_groups: bool = False


# An image of which nothing else is known is one to train on.
UNKNOWN: Mapping[str, object] = {
    "split": "train",
    "person": -1,
    "clothes": -1,
    "resolution": "",
    "timestamp": "",
    "caption": "",
}


@dataclass(frozen=True)
class Part:
    """A part of a data set as it was published: identities (distractors left out) and images.

    Attributes:
        name: what a message calls it, for instance its folder.
        persons, images: None where no number was published.
    """

    name: str
    persons: int | None
    images: int | None

    def differences(self, images: Iterable[SourceImage]) -> list[str]:
        """What is not as published, in words; empty where all is."""
        persons = [image.row["person"] for image in images]
        found = {"identities": len(set(persons) - {0, -1}), "images": len(persons)}
        expected = {"identities": self.persons, "images": self.images}
        return [
            f"{self.name} has {found[what]:,} {what}, expected {number:,}"
            for what, number in expected.items()
            if number is not None and found[what] != number
        ]


def require_published(name: str, differences: Sequence[str], request: Request, *, asserted: bool) -> tuple[str, ...]:
    """The differences as warnings.

    Args:
        name: of the data set.
        differences: of all its parts.
        request: says whether differences are allowed.
        asserted: whether published code asserts these numbers; those from papers alone only warn.

    Raises:
        InputError: asserted numbers differ, and `--allow-partial` was not given.
    """
    if differences and asserted and not request.allow_partial:
        raise InputError(
            f"{request.source}: not the published {name}: {'; '.join(differences)}. Get the whole set, or import this "
            "copy with --allow-partial, knowing that its scores cannot be compared with published ones."
        )
    return tuple(differences)


def source_image(file: Path, *, root: Path, scenario: str, **columns: object) -> SourceImage:
    """An image that is a file below `root`; `columns` of the manifest that are not given are unknown."""
    row = {**UNKNOWN, "scenario": scenario, "source": file.relative_to(root).as_posix(), **columns}
    return SourceImage(file, row, where=str(file))


def folder_with(source: Path, wanted: Sequence[str]) -> Path:
    """The data set's own folder, which holds all that is wanted: `source` or a folder in it.

    Raises:
        InputError: none does, or a folder cannot be read.
    """
    with readable(source):
        for candidate in [source, *sorted(child for child in source.iterdir() if child.is_dir())]:
            if all((candidate / name).exists() for name in wanted):
                return candidate
        missing = [name for name in wanted if not (source / name).exists()]
    raise InputError(
        f"{source}: expected {', '.join(wanted)} in it, {', '.join(missing)} not found. Give the unpacked data set's "
        "folder."
    )


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """For a block that reads `path`.

    Raises:
        InputError: the system does not let it be read, or it is a folder where a file is expected or the reverse.
    """
    try:
        yield
    except OSError as error:
        raise _unreadable(error, path) from error


def _unreadable(error: OSError, path: Path) -> InputError:
    """Names what cannot be read: what the system names, else `path`."""
    return InputError(
        f"{error.filename or path}: cannot be read ({error.strerror or error}). Change its permissions, or get it "
        "again."
    )


def outfit_number(person: int, clothes: int) -> int:
    """A number that no other outfit has, where a set counts the clothes of each person anew (up to 999)."""
    return person * 1000 + clothes


def read_ids(file: Path) -> list[int]:
    """The identities of a file such as "1,2,5", sorted.

    Raises:
        InputError: anything else in it, or it cannot be read.
    """
    try:
        with readable(file):
            return sorted({int(word) for word in file.read_text(encoding="utf-8").split(",")})
    except ValueError as error:
        raise InputError(
            f"{file}: {error}. Expected identities with commas between them, such as 1,2,5; get the file again."
        ) from error


def read_list(file: Path) -> Iterator[tuple[str, int]]:
    """Image and label of each line "image label".

    Raises:
        InputError: a line of another kind, which is named, or the file cannot be read.
    """
    try:
        with readable(file):
            lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not a text file ({error}). Get the file again.") from error
    for number, line in enumerate(lines, start=1):
        image, _, word = line.strip().rpartition(" ")
        label = _label(word)
        if image and label is not None:
            yield image.strip(), label
        elif line.strip():
            raise InputError(
                f"{file} line {number}: {line!r:.80}, expected an image and its label such as 'folder/0001.jpg 7'. "
                "Correct the line or get the file again."
            )


def _label(word: str) -> int | None:
    try:
        return int(word) if word.isdecimal() else None
    except ValueError:  # Python converts no more than a few thousand digits
        return None


def image_files(folder: Path, *, root: Path) -> Iterator[Path]:
    """All image files below `folder`, sorted, without hidden ones; none where there is no such folder.

    Raises:
        InputError: a folder cannot be read or is a symbolic link, or a link leads out of `root`.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # not every person is seen by every camera
            raise _unreadable(error, folder) from error

    for here, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        for name in folders:
            _require_no_link(require_inside(Path(here, name), root=root))
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


def _require_no_link(folder: Path) -> None:
    """Refuses a linked folder, which a walk would pass by: its images would be missing, and nothing would say so."""
    if folder.is_symlink():
        raise InputError(
            f"{folder}: a link to a folder, which is not followed. Copy the folder itself to this place, or remove the "
            "link if its images are not to be read."
        )


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
