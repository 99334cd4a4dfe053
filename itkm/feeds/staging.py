"""What is copied from a source that itself is only read: each file under a name that is safe, and what is known of it.

A copy is built in a hidden folder and takes its place by one rename: until then every file is still in the drop, from
then on in the feed folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from itkm.errors import ItkmError
from itkm.feeds.feed import ENTRIES_FILE
from itkm.feeds.quarantine import Fault, fault_of_name, kept_name
from itkm.files import write_bytes


@dataclass(frozen=True)
class Entry:
    """What a source says of one file.

    Attributes:
        path: where it lies, relative to the folder of the copy.
        name: as the source calls it.
        fault: why it is to be put aside; None = its content decides.
        camera: "" where the source does not say it; so is `timestamp`, ISO 8601.
        tracklet: -1 where the source does not say it.
    """

    path: str
    name: str
    fault: Fault | None = None
    camera: str = ""
    timestamp: str = ""
    tracklet: int = -1


class Staging:
    """Collects the files of a source in a folder.

    Attributes:
        entries: what was added, in that order.
    """

    def __init__(self, folder: Path) -> None:
        """Prepares to write below `folder`, which need not exist."""
        self.entries: list[Entry] = []
        self._folder = folder
        self._files: set[str] = set()
        self._folders: set[str] = set()
        folder.mkdir(parents=True)

    def add(
        self,
        name: str,
        content: bytes | None,
        *,
        fault: Fault | None = None,
        camera: str = "",
        timestamp: str = "",
        tracklet: int = -1,
    ) -> None:
        """Writes a file and reads it back; one with a fault gets another name, with which it can be put aside.

        Args:
            name: as the source calls it.
            content: of the file; None where it has none, or none that may be read.
            fault: why it is to be put aside, if that is known already.
            camera, timestamp, tracklet: as of `Entry`.

        Raises:
            OSError: it cannot be written.
        """
        fault = fault or fault_of_name(name) or self._taken(name)
        path = name if fault is None else kept_name(f"{name}#{len(self.entries)}")
        if content is not None:
            target = self._folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            if target.read_bytes() != content:
                raise ItkmError(f"{target}: reads otherwise than it was written. Check the disk.")
        self._files.add(path)
        self._folders.update(str(parent) for parent in PurePosixPath(path).parents)
        self.entries.append(Entry(path, name, fault, camera, timestamp, tracklet))

    def _taken(self, name: str) -> Fault | None:
        """Why a name cannot be given again: to a file of that name, or to one that is a folder of others."""
        parents = {str(parent) for parent in PurePosixPath(name).parents}
        if name in self._files or name in self._folders or parents & self._files:
            return Fault("twice", f"{name}: another file has this name. Rename one of them and deliver it again.")
        return None


def write_entries(entries: Sequence[Entry], folder: Path) -> None:
    """Writes what a source says of its files into a feed folder, atomically."""
    write_bytes(folder / ENTRIES_FILE, json.dumps([asdict(entry) for entry in entries]).encode())


def read_entries(folder: Path) -> Mapping[str, Entry]:
    """What the source says of the files of a feed folder, by path; empty where it was a plain folder."""
    file = folder / ENTRIES_FILE
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    entries = [Entry(**{**entry, "fault": entry["fault"] and Fault(**entry["fault"])}) for entry in found]
    return {entry.path: entry for entry in entries}
