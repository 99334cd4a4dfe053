"""What the sets with captions share: one json that lists images, each with its person and its descriptions.

All images are one group, `visible`: such a set can be embedded, searched and scored, but not trained on. Its test
images are the gallery, and their captions the queries of protocol `text`: `itkm embed DIR --captions --split gallery`.
The captions of an image stand in the manifest's `caption`, one per line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from itkm.data.importers.source import (
    Listing,
    Part,
    Request,
    SourceImage,
    folder_with,
    readable,
    require_inside,
    require_published,
    source_image,
)
from itkm.data.manifest import Member
from itkm.errors import InputError

GROUP = "visible"
SPLITS: Mapping[str, str] = {"train": "train", "val": "validation", "test": "gallery"}


class Entry(BaseModel):
    """One image in the json: what we read of it."""

    model_config = ConfigDict(frozen=True)

    id: Annotated[int, Field(lt=2**62, description="a whole number")]
    split: Annotated[Literal["train", "val", "test"], Field(description="train, val or test")]
    file_path: Member
    captions: Annotated[list[str], Field(min_length=1, description="a list of at least one text")]


@dataclass(frozen=True)
class CaptionSet:
    """How a set lists its images.

    Attributes:
        name: of the set.
        file: the json.
        images: the folder to which the json's paths are relative.
        pattern: of a path; its group is the camera, or the camera's number. Without a group, all is of one camera.
        example: a path that fits.
        parts: the published statistics of each split.
        first_id: the smallest identity.
        path_key: what the json calls a path.
        defaults: what the json leaves out because it is the same for all.
    """

    name: str
    file: str
    images: str
    pattern: re.Pattern[str]
    example: str
    parts: Mapping[str, Part]
    first_id: int = 0
    path_key: str = "file_path"
    defaults: Mapping[str, str] = field(default_factory=dict)


def list_captions(found: CaptionSet, request: Request) -> Listing:
    """Lists a set with captions; persons count from 1.

    Raises:
        InputError: the json or the folder of images is missing, the json cannot be read, or an entry lacks something,
            has a path that does not parse or leads out of the folder; names the entry.
    """
    root = folder_with(request.source, [found.file, found.images])
    images: list[SourceImage] = []
    for where, entry in read_entries(root / found.file, found):
        match = found.pattern.fullmatch(entry.file_path)
        if match is None or entry.id < found.first_id:
            raise InputError(
                f"{where}: {found.path_key} {entry.file_path!r}, id {entry.id}; expected a path such as "
                f"{found.example} and an id from {found.first_id}. Correct the entry or get the file again."
            )
        file = require_inside(root / found.images / entry.file_path, root=root)
        row = {
            "group": GROUP,
            "camera": _camera(match),
            "split": SPLITS[entry.split],
            "person": entry.id - found.first_id + 1,
            "caption": "\n".join(" ".join(caption.split()) for caption in entry.captions),
        }
        images.append(source_image(file, root=root, scenario=request.scenario, **row))
    differences = [
        difference
        for split, part in found.parts.items()
        for difference in part.differences(image for image in images if image.row["split"] == split)
    ]
    return Listing(images, require_published(found.name, differences, request, asserted=False))


def read_entries(file: Path, found: CaptionSet) -> Iterator[tuple[str, Entry]]:
    """The entries of the json, and what an error calls each; they count from 0.

    Raises:
        InputError: it cannot be read, is no json, no list, an empty one, or an entry is not as expected.
    """
    try:
        with readable(file):
            items = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read as json ({error}). Get the file again.") from error
    if not isinstance(items, list):
        raise InputError(f"{file}: expected a list of images, found {type(items).__name__}. Get the file again.")
    if not items:
        raise InputError(f"{file}: lists no image, expected at least one. Get the file again.")
    for number, item in enumerate(items):
        where = f"{file} entry {number}"
        if not isinstance(item, dict):
            raise InputError(f"{where}: {item!r:.80}, expected an object that describes an image. Correct the entry.")
        named = {**found.defaults, **item}
        if found.path_key in item:
            named["file_path"] = item[found.path_key]
        try:
            yield where, Entry.model_validate(named)
        except ValidationError as error:
            faults = "; ".join(_describe(fault, found.path_key) for fault in error.errors())
            raise InputError(f"{where}: {faults}. Correct the entry or get the file again.") from error


def _camera(match: re.Match[str]) -> str:
    name = match[1] if match.re.groups else "1"
    return f"c{int(name)}" if name.isdecimal() else name


def _describe(fault: ErrorDetails, path_key: str) -> str:
    name = str(fault["loc"][0])
    value = "missing" if fault["type"] == "missing" else f"{fault['input']!r:.80}"
    shown = path_key if name == "file_path" else name
    return f"{shown} is {value}, expected {Entry.model_fields[name].description}"
