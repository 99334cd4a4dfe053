"""A feed folder: who delivered what and when, and where its files lie.

feed.json                 the identity, written first; its `content` is set once every file is sorted
entries.json              what a table, archive or video says of its files; absent for a folder
claimed/                  files that are claimed and not yet sorted
images/                   files that decode, until they are accepted
quarantine/               files that do not, each beside NAME.reason.json
profile.parquet, features.npz, validation.json, report.html, data-docs/, acceptance.json
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Self

from itkm import __version__
from itkm.data.manifest import expected, is_name
from itkm.errors import InputError
from itkm.files import write_json

FEED_FILE = "feed.json"
ENTRIES_FILE = "entries.json"
CLAIMED = "claimed"
IMAGES = "images"
QUARANTINE = "quarantine"
PROFILE_FILE = "profile.parquet"
FEATURES_FILE = "features.npz"
VALIDATION_FILE = "validation.json"
REPORT_FILE = "report.html"
ACCEPTANCE_FILE = "acceptance.json"


@dataclass(frozen=True)
class Feed:
    """The identity of a feed.

    Attributes:
        camera, scenario, group: as which it was declared.
        source: what was claimed, as typed.
        claimed_at: UTC, ISO 8601 with seconds, ends in Z.
        boxes: those of a video, as typed; "" of anything else.
        stamp: size and time of change of a source that is a file, and of its boxes, "" of a folder: tells another file
            of that name.
        content: SHA-256 over the sorted SHA-256 of all images; "" until every file is sorted.
        version: of itkm.
    """

    camera: str
    scenario: str
    group: str
    source: str
    claimed_at: str
    boxes: str = ""
    stamp: str = ""
    content: str = ""
    version: str = __version__

    def __post_init__(self) -> None:
        """Refuses names that cannot become those of files.

        Raises:
            InputError: a camera, scenario or group that is no name.
        """
        for option in ("camera", "scenario", "group"):
            if not is_name(getattr(self, option)):
                raise InputError(f"--{option} {getattr(self, option)!r}: expected {expected(option)}, at most 64.")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads the identity from a feed folder.

        Raises:
            InputError: not a feed folder.
        """
        file = folder / FEED_FILE
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{file}: not a feed ({error}). Give the folder that `itkm feed validate ... --out DIR` wrote."
            ) from error

    def save(self, folder: Path) -> None:
        """Writes the identity into a feed folder, atomically.

        Raises:
            InputError: the folder cannot be written.
        """
        write_json(folder / FEED_FILE, asdict(self))


def remove_temporary(*found: Iterable[Path]) -> None:
    """Removes the files that a process left which was killed before it put them in place; `replacing` hides them."""
    for file in chain(*found):
        if file.is_file():
            file.unlink()
