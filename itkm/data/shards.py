"""Tar shards: images travel in few files, yet each is read at random without unpacking."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
import threading
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pandas as pd
from pydantic import ValidationError

from itkm.data.manifest import COLUMNS, MANIFEST_FILE, Row, describe, name_rows, validated
from itkm.errors import InputError
from itkm.files import replacing

MAX_MEMBER_BYTES = 64 * 2**20
MAX_MEMBERS = 500_000
SHARD_IMAGES = 20_000  # of one camera; about as many go into each of several shards where it has more
DIGITS = 16  # of the SHA-256 in a member's name
SUFFIXES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png"}  # by how the content starts

Place = tuple[int, int]  # offset and size in bytes


class ShardWriter:
    """Writes one tar shard: whole or absent, and the same members in the same order give the same bytes.

    Example:
        with ShardWriter(folder / "shards" / "cam1.tar") as shard:
            shard.add("cam1/0001.jpg", content)
    """

    def __init__(self, path: Path) -> None:
        """Prepares to write `path`; nothing is opened before the `with` block."""
        self._path = path
        self._names: set[str] = set()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Opens a temporary file beside the target."""
        temporary = self._stack.enter_context(replacing(self._path))
        self._tar = self._stack.enter_context(tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Puts the shard in place, or on an error removes the temporary file."""
        self._stack.__exit__(kind, error, trace)

    def add(self, name: str, content: bytes) -> None:
        """Appends one member.

        Raises:
            InputError: the name is already taken, or the content is too large.
        """
        if name in self._names:
            raise InputError(f"{self._path}: two images are named {name!r}. Rename one of them.")
        if len(content) > MAX_MEMBER_BYTES:
            raise InputError(f"{name}: {len(content):,} bytes, expected at most {MAX_MEMBER_BYTES:,}. Remove it.")
        self._names.add(name)
        member = tarfile.TarInfo(name)  # owner 0, time 0 and mode 644 by default: nothing of this machine
        member.size = len(content)
        self._tar.addfile(member, io.BytesIO(content))


class ShardReader:
    """Reads members of the shards of one scenario at random.

    Each shard is indexed once, from its headers. No file stays open between reads, so a reader may be shared by
    threads, survives a fork and never meets the limit on open files.
    """

    def __init__(self, folder: Path) -> None:
        """Prepares to read the shards of `folder`; each is indexed when first read."""
        self._folder = folder
        self._indexes: dict[str, dict[str, Place]] = {}
        self._lock = threading.Lock()

    def read(self, shard: str, path: str) -> bytes:
        """The content of member `path` of `shard`.

        Raises:
            InputError: no such shard or member, or the shard is damaged.
        """
        place = self._index(shard).get(path)
        file = self._folder / shard
        if place is None:
            raise InputError(f"{file}: no member {path!r}, which the manifest names. Import the data again.")
        offset, size = place
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            content = os.pread(handle, size, offset)
        finally:
            os.close(handle)
        if len(content) != size:
            raise InputError(f"{file}: changed while it was read. Run the command again when nothing writes it.")
        return content

    def names(self, shard: str) -> list[str]:
        """The members of `shard`, in its order.

        Raises:
            InputError: no such shard, or it is damaged.
        """
        return list(self._index(shard))

    def _index(self, shard: str) -> dict[str, Place]:
        with self._lock:
            if shard not in self._indexes:
                self._indexes[shard] = index_shard(self._folder / shard)
            return self._indexes[shard]


def index_shard(file: Path) -> dict[str, Place]:
    """Where each member's content lies in an uncompressed tar.

    Raises:
        InputError: missing, damaged, or holds anything but regular files with distinct names.
    """
    try:
        # "r:" opens uncompressed tars only: a compressed one could not be read at random, and could be a bomb.
        with tarfile.open(file, "r:") as tar:
            index: dict[str, Place] = {}
            for member in members_of(tar):
                _require_plain(member, file=file, index=index)
                index[member.name] = (member.offset_data, member.size)
    except FileNotFoundError as error:
        raise InputError(
            f"{file}: no such shard, which the manifest names. Import the data or run `dvc pull`."
        ) from error
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{file}: cannot be read as a tar ({error}). Import the data again.") from error
    return index


class _Header(tarfile.TarInfo):
    """A header of which damage is told from the end of the archive, which `tarfile` does only for the first."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if bytes(buf) == bytes(tarfile.BLOCKSIZE):  # the end of the archive
                raise
            raise tarfile.ReadError(str(error)) from error


def members_of(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members of a tar that was just opened, of which none is missing: a damaged tar is not a shorter one.

    Raises:
        tarfile.ReadError: a header is damaged or missing, or the end is not the end.
        OSError, EOFError, lzma.LZMAError: as the file raises it that is read; of a packed one the sum is checked, too.
    """
    tar.tarinfo = _Header  # the first header was read, and is whole or refused, when the tar was opened
    yield from tar
    assert tar.fileobj is not None
    padding = tar.fileobj.read(MAX_MEMBER_BYTES)  # a packed tar checks its sum where it ends
    if any(padding) or tar.fileobj.read(1):  # as where a header was overwritten with zeros
        raise tarfile.ReadError("its end is followed by more than padding")


def write_scenario(images: Iterable[tuple[Mapping[str, object], bytes]], folder: Path) -> pd.DataFrame:
    """Writes the shards and the manifest of one scenario: one shard per camera, members and rows in the order given.

    Nothing is put in place before every image has been taken; the manifest comes last. The same images give the same
    bytes.

    Args:
        images: pairs of a row and the image's file content. `path` and `shard` are set here, whatever the row says; the
            file's own name belongs into `source`.
        folder: gets `shards/<camera>.tar` and `manifest.parquet`.

    Returns:
        The manifest, as `read_manifest` returns it.

    Raises:
        InputError: no image, a row that breaks the schema, too large an image, or a folder that cannot be written.
    """
    manifest = folder / MANIFEST_FILE
    writers: dict[str, ShardWriter] = {}
    taken: Counter[str] = Counter()
    rows: list[dict[str, object]] = []
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(replacing(manifest))  # entered first, therefore put in place last
        for fields, content in images:
            row = valid_row(fields, number=len(rows))
            camera = str(row["camera"])
            if camera not in writers:
                writers[camera] = stack.enter_context(ShardWriter(folder / shard_file(camera)))
            rows.append(pack(row, content, writers[camera], place=camera, taken=taken))
        frame = manifest_of(rows, file=manifest)
        frame.to_parquet(temporary, index=False)
    return frame


def valid_row(fields: Mapping[str, object], *, number: int) -> dict[str, object]:
    """A row of the manifest whose `path` and `shard` are yet to be set.

    Args:
        fields: its other columns.
        number: the image's, for errors.

    Raises:
        InputError: it breaks the schema.
    """
    try:
        return Row.model_validate({**fields, "path": "unnamed", "shard": "unnamed.tar"}).model_dump()
    except ValidationError as error:
        where = f"image {number} ({fields.get('source')!r})"
        raise InputError(f"{where}: {describe(error)}. Rename or correct it.") from error


def pack(
    row: Mapping[str, object], content: bytes, shard: ShardWriter, *, place: str, taken: Counter[str]
) -> dict[str, object]:
    """Adds an image to a shard under a name that tells no person, and returns its whole row.

    Here, and nowhere else, members are named: `<place>/<first 16 hex digits of the content's SHA-256><suffix>`, with
    `-1`, `-2` before the suffix where that is taken. Names of files may tell the person; these cannot.

    Args:
        row: as `valid_row` returns it.
        content: the image file.
        shard: the writer of `shard_file(place)`.
        place: the camera, or its part where it has several shards.
        taken: counts the images of each name; the same for all images of a place.

    Raises:
        InputError: the content is too large.
    """
    stem = f"{place}/{hashlib.sha256(content).hexdigest()[:DIGITS]}"
    copy = f"-{taken[stem]}" if taken[stem] else ""
    taken[stem] += 1
    path = f"{stem}{copy}{suffix_of(content)}"
    try:
        shard.add(path, content)
    except InputError as error:
        raise InputError(f"{row['source']}, packed as {error}") from error
    return {**row, "path": path, "shard": shard_file(place)}


def places(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """The place of each image: its camera, or a part of it where it has more than `SHARD_IMAGES`.

    Parts are drawn by a checksum of the source: images are listed person by person, and a part that were a run of that
    list would tell which images may show one person.
    """
    parts = {camera: -(-count // SHARD_IMAGES) for camera, count in Counter(row["camera"] for row in rows).items()}
    return [
        str(row["camera"])
        if parts[row["camera"]] == 1
        else f"{row['camera']}/{zlib.crc32(str(row['source']).encode()) % parts[row['camera']]}"
        for row in rows
    ]


def shard_file(place: str) -> str:
    """The shard of a place, relative to the manifest."""
    return f"shards/{place}.tar"


FEEDS = Path("feeds")
"""Below it, beside the manifest, lie the shards of accepted feeds."""

HIDDEN = Path(".itkm")
"""Beside the manifest: what is of this machine alone. Whoever changes the data holds it, see `itkm.files.locked`."""


def manifest_of(rows: Sequence[Mapping[str, object]], *, file: Path) -> pd.DataFrame:
    """The manifest of these rows, as `read_manifest` returns it.

    Raises:
        InputError: no row, or one that breaks the schema.
    """
    if not rows:
        raise InputError(f"{file.parent}: no image to write. Expected at least one.")
    return validated(pd.DataFrame(rows, columns=list(COLUMNS)), COLUMNS, file=file)


def unlisted_shards(folder: Path, named: Collection[str]) -> list[str]:
    """The shards below `folder` that are not in `named`; what is hidden, as of a running import, is left out."""
    present = (file.relative_to(folder) for file in folder.rglob("*.tar"))
    shown = {file.as_posix() for file in present if not any(part.startswith(".") for part in file.parts)}
    return sorted(shown - set(named))


def suffix_of(content: bytes) -> str:
    """The suffix of a JPEG or PNG file, told by its content; empty for any other."""
    return next((suffix for start, suffix in SUFFIXES.items() if content.startswith(start)), "")


def _require_plain(member: tarfile.TarInfo, *, file: Path, index: Mapping[str, Place]) -> None:
    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
        raise InputError(f"{file}: member {member.name!r} is a link, a folder or a special file. Pack only images.")
    if member.name in index:
        raise InputError(f"{file}: two members are named {member.name!r}. Pack each image once.")
    if member.size > MAX_MEMBER_BYTES or len(index) >= MAX_MEMBERS:
        raise InputError(
            f"{file}: member {member.name!r} exceeds the limits of {MAX_MEMBER_BYTES:,} bytes a member and "
            f"{MAX_MEMBERS:,} members. Pack person crops only, in more shards."
        )


def require_replaceable(folder: Path) -> None:
    """Refuses to write the manifest anew where it names the images of accepted feeds.

    Raises:
        InputError: such feeds lie in `folder`, the one of a scenario.
    """
    feeds = sorted(file.relative_to(folder).as_posix() for file in (folder / FEEDS).rglob("*.tar"))
    if feeds:
        raise InputError(
            f"{folder}: holds accepted feeds ({name_rows(feeds)}), which a new manifest would not name. Give another "
            "--out; to begin anew without these images, move this folder away first."
        )
