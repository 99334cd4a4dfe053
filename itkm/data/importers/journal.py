"""What an import has finished, kept beside it: one that was killed goes on, and one that is complete is left alone.

    OUT/.itkm/import/shards/c1.tar       while an import runs: a finished shard, and
    OUT/.itkm/import/shards/c1.tar.json  its rows, written after it
    OUT/.itkm/import.json                once OUT is complete: what it was made from, and the size of each file

Every record carries the key of its listing, so that images of a source that has changed are never mixed. Git and DVC
ignore `.itkm`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from itkm import __version__
from itkm.data.importers.source import SourceImage
from itkm.data.manifest import MANIFEST_FILE
from itkm.data.shards import HIDDEN, ShardWriter, manifest_of, pack, shard_file
from itkm.files import replacing, write_bytes, write_json

Packed = tuple[Mapping[str, object], bytes] | str
"""An image's row and content, or why it cannot be read."""


class Journal:
    """The journal of the imports into one folder.

    Attributes:
        faults: why images were left out, of all finished shards or, once the folder is complete, of all images.
    """

    def __init__(self, out: Path, *, key: str) -> None:
        """Looks at nothing yet.

        Args:
            out: gets `manifest.parquet` and `shards/`.
            key: of the listing that is imported, as `listing_key` gives it.
        """
        self.faults: list[str] = []
        self._out = out
        self._key = key
        self._staging = out / HIDDEN / "import"
        self._record = out / HIDDEN / "import.json"
        self._finished: dict[str, dict[str, Any]] = {}

    def is_complete(self) -> bool:
        """Whether the folder holds just this listing, and no file of it was touched since."""
        record = _read(self._record)
        if record.get("key") != self._key:
            return False
        self.faults = record["faults"]
        written = self._record.stat().st_mtime_ns
        return all(_untouched(self._out / name, size, since=written) for name, size in record["files"].items())

    def resume(self) -> bool:
        """Takes up what an earlier import of this listing left; False if it was of another one, and is removed."""
        self.faults = []
        for file in self._staging.rglob(".*"):
            file.unlink()  # temporary files of one that was killed
        records = {file: _read(file) for file in sorted(self._staging.rglob("*.json"))}
        if any(record.get("key") != self._key for record in records.values()):
            shutil.rmtree(self._staging)  # not the folders around it: they are held, and the import goes on in them
            return False
        for record in records.values():
            if self._holds(record):
                self._finish(record)
        return True

    def has(self, place: str) -> bool:
        """Whether the shard of a place is finished."""
        return place in self._finished

    def write(self, place: str, images: Iterable[tuple[int, Packed]]) -> None:
        """Writes the shard of a place: whole, or not at all if this is cut off.

        Args:
            place: of all these images.
            images: the number of each in the listing, and the image.

        Raises:
            InputError: too large an image, or the folder cannot be written.
        """
        file = self._staging / shard_file(place)
        taken: Counter[str] = Counter()
        rows: list[tuple[int, dict[str, object]]] = []
        faults: list[str] = []
        with ShardWriter(file) as shard:
            for number, image in images:
                if isinstance(image, str):
                    faults.append(image)
                else:
                    rows.append((number, pack(*image, shard, place=place, taken=taken)))
        size = file.stat().st_size
        record = {"key": self._key, "place": place, "size": size, "rows": rows, "faults": faults}
        write_bytes(file.with_name(f"{file.name}.json"), json.dumps(record).encode())
        self._finish(record)

    def complete(self) -> None:
        """Puts the shards and then the manifest in place; until all are there, the folder has no manifest.

        Raises:
            InputError: no image.
        """
        rows = {number: row for record in self._finished.values() for number, row in record["rows"]}
        manifest = self._out / MANIFEST_FILE
        staged = self._staging / MANIFEST_FILE
        frame = manifest_of([rows[number] for number in sorted(rows)], file=manifest)
        with replacing(staged) as temporary:
            frame.to_parquet(temporary, index=False)
        manifest.unlink(missing_ok=True)
        files: dict[str, int] = {MANIFEST_FILE: staged.stat().st_size}
        for place, record in self._finished.items():
            if record["rows"]:
                name = shard_file(place)
                _move(self._staging / name, self._out / name)
                files[name] = record["size"]
        _move(staged, manifest)
        write_json(self._record, {"key": self._key, "files": files, "faults": self.faults})
        shutil.rmtree(self._staging)

    def discard(self) -> None:
        """Removes what is unfinished; what an earlier import completed stays."""
        shutil.rmtree(self._staging, ignore_errors=True)
        for folder in (self._staging.parent, self._out):
            with contextlib.suppress(OSError):  # not empty, or not there
                folder.rmdir()

    def _finish(self, record: dict[str, Any]) -> None:
        self._finished[record["place"]] = record
        self.faults += record["faults"]

    def _holds(self, record: Mapping[str, Any]) -> bool:
        """Whether the shard of a record is there, staged or, if `complete` was cut off, in place."""
        name = shard_file(record["place"])
        return any(
            file.is_file() and file.stat().st_size == record["size"]
            for file in (self._staging / name, self._out / name)
        )


def listing_key(images: Sequence[SourceImage], *, allow_partial: bool) -> str:
    """A checksum of what would be imported: rows, sizes and times of the files, options, and our version."""
    digest = hashlib.sha256(f"{__version__} {allow_partial}".encode())
    for image in images:
        try:
            status = image.file.stat()
            stamp = (status.st_size, status.st_mtime_ns)
        except OSError:
            stamp = (0, 0)  # the import names it
        digest.update(json.dumps([dict(image.row), *stamp], default=str).encode())
    return digest.hexdigest()


def _read(file: Path) -> dict[str, Any]:
    """A record; empty if there is none that can be read."""
    try:
        record = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _untouched(file: Path, size: int, *, since: int) -> bool:
    """Whether a file has its size and was not written after a time in nanoseconds."""
    return file.is_file() and file.stat().st_size == size and file.stat().st_mtime_ns <= since


def _move(staged: Path, target: Path) -> None:
    """Puts a staged file in place, unless that was done before it was cut off."""
    if staged.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.replace(target)
