"""Files that cannot become training images: put aside with a reason, never changed and never deleted.

* `quarantine/NAME`: the file as it came; absent where an archive or a table names what has no content.
* `quarantine/NAME.reason.json`: `file` (NAME), `name` (as it came), `rule`, `message`, `bytes` and `sha256`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image, UnidentifiedImageError
from pydantic import TypeAdapter, ValidationError

from itkm.data.images import decode
from itkm.data.manifest import Member, expected
from itkm.errors import InputError
from itkm.feeds.feed import QUARANTINE
from itkm.files import write_json

MAX_NAME_BYTES = 200  # of a part of a path: the reason's own name must fit into the 255 of a file system
REASON = ".reason.json"

Content = Literal["empty", "type", "size", "broken", "unreadable"]  # what a file holds
Listed = Literal["name", "link", "special", "missing", "twice", "frame"]  # what a folder, table or video says of it
Rule = Content | Listed

_MEMBER: TypeAdapter[str] = TypeAdapter(Member)


@dataclass(frozen=True)
class Fault:
    """Why a file is put aside.

    Attributes:
        rule: the kind, one word.
        message: what was found and what to do, for people.
    """

    rule: Rule
    message: str


def examine(content: bytes, *, name: str) -> Image.Image | Fault:
    """The upright RGB image that a file's content is, or why it is none."""
    if not content:
        return Fault("empty", f"{name}: no byte in it. Deliver it again.")
    try:
        return decode(content, name=name)
    except InputError as error:
        if isinstance(error.__cause__, UnidentifiedImageError):
            return Fault("type", f"{name}: not an image, or cut off within its first bytes. Deliver the image itself.")
        too_large = error.__cause__ is None or "Bomb" in type(error.__cause__).__name__
        return Fault("size" if too_large else "broken", str(error))


def fault_of_name(name: str) -> Fault | None:
    """What is wrong with a name inside a feed; None where it may become the path of a file below a folder."""
    try:
        _MEMBER.validate_python(name)
    except ValidationError:
        return Fault("name", f"{name!r}: expected {expected('path')}. Rename it and deliver it again.")
    if any(part.endswith(REASON) or len(os.fsencode(part)) > MAX_NAME_BYTES for part in name.split("/")):
        message = f"{name!r}: a part is over {MAX_NAME_BYTES} bytes, or ends in {REASON}. Rename it."
        return Fault("name", message)
    return None


def kept_name(name: str) -> str:
    """A name under which a file with an unusable name can lie in a folder: told apart by a checksum of the name."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[-60:]
    return f"{plain or 'entry'}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}"


def put_aside(folder: Path, path: str, fault: Fault, *, name: str, file: Path | None, digest: str = "") -> None:
    """Moves a file into the quarantine of a feed folder; the reason is written first, so that no file lacks one.

    Args:
        folder: the feed folder.
        path: where it goes, relative to the quarantine.
        fault: why.
        name: as it came.
        file: where it lies, on the same file system; None where there is no content.
        digest: SHA-256 of its content, "" unknown.

    Raises:
        InputError: the folder cannot be written.
    """
    target = folder / QUARANTINE / path
    size = 0 if file is None else file.lstat().st_size
    reason = {"file": path, "name": name, "rule": fault.rule, "message": fault.message, "bytes": size, "sha256": digest}
    write_json(target.with_name(target.name + REASON), reason)
    if file is not None:
        file.rename(target)


def is_aside(folder: Path, path: str) -> bool:
    """Whether a file was put aside under this path of the quarantine of a feed folder, or is about to be."""
    return (folder / QUARANTINE / f"{path}{REASON}").exists()


def reasons(folder: Path) -> Iterator[dict[str, object]]:
    """The reason of every file in the quarantine of a feed folder, by path, in words that can be printed."""
    for file in sorted((folder / QUARANTINE).rglob(f"*{REASON}")):
        reason = json.loads(file.read_text(encoding="utf-8"))
        yield {key: _printable(value) if isinstance(value, str) else value for key, value in reason.items()}


def _printable(text: str) -> str:
    """A text with `\\udcfc` for the byte FC of a name that is no UTF-8, as old archives and cameras give."""
    return text.encode("utf-8", "backslashreplace").decode()
