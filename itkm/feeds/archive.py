"""Tar and zip archives of crops, read under caps: nothing in them decides where a file is written, or how much."""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from itkm.data.shards import MAX_MEMBER_BYTES, MAX_MEMBERS, members_of
from itkm.errors import InputError
from itkm.feeds.quarantine import Fault
from itkm.feeds.staging import Staging

MAX_BYTES = 64 * 2**30  # of all members, unpacked: about a million crops of full-HD footage
MAX_RATIO = 100  # unpacked to packed; images are packed already, so that an archive of them reaches 2
RATIO_FLOOR = 64 * 2**20  # bytes below which the ratio harms nobody

DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError)
"""What a reader raises of a damaged archive, or of one that it does not know; see `_is_of_disk`."""

Member = tuple[str, int, bytes | Fault | None]
"""Name, declared size, and the content or why it is not read; None of a folder."""


def is_archive(file: Path) -> bool:
    """Whether a file is a tar, packed or not, or a zip."""
    try:
        return zipfile.is_zipfile(file) or tarfile.is_tarfile(file)
    except EOFError:  # a packed tar that breaks off within its first bytes, which `unpack` says
        return True


def unpack(file: Path, staging: Staging) -> None:
    """Copies the members of an archive, which is only read.

    Links, devices and members of more than `MAX_MEMBER_BYTES` are noted, not read. Folders are only counted.

    Raises:
        InputError: damaged, empty, or more members, bytes or compression than the caps allow.
        OSError: it cannot be read, or a member cannot be written.
    """
    packed = file.stat().st_size
    members = unpacked = 0
    try:
        for name, size, content in _zip_members(file) if zipfile.is_zipfile(file) else _tar_members(file):
            members, unpacked = members + 1, unpacked + size
            _require_caps(file, members=members, unpacked=unpacked, packed=packed)
            plain = name.removeprefix("./")  # as `tar -c .` names what it packs
            if isinstance(content, Fault):
                staging.add(plain, None, fault=content)
            elif content is not None:
                staging.add(plain, content)
    except DAMAGE as error:
        if _is_of_disk(error):
            raise
        raise InputError(f"{file}: cannot be read to its end ({error}). Pack it again; nothing was taken.") from error
    if not staging.entries:
        raise InputError(f"{file}: no file in it. Expected an archive of crops.")


def _is_of_disk(error: Exception) -> bool:
    """Whether an error tells of the disk; gzip and bz2 raise an OSError of damaged content too, without a number."""
    return isinstance(error, OSError) and error.errno is not None


def _require_caps(file: Path, *, members: int, unpacked: int, packed: int) -> None:
    if members > MAX_MEMBERS or unpacked > MAX_BYTES:
        raise InputError(
            f"{file}: more than {MAX_MEMBERS:,} members or {MAX_BYTES / 2**30:.0f} GiB. Deliver it in parts; nothing "
            "was taken."
        )
    if unpacked > max(RATIO_FLOOR, MAX_RATIO * packed):
        raise InputError(
            f"{file}: unpacks to more than {MAX_RATIO} times its {packed:,} bytes, which images never do. Nothing was "
            "taken; ask who packed it."
        )


def _tar_members(file: Path) -> Iterator[Member]:
    with tarfile.open(file, "r:*") as tar:
        for member in members_of(tar):
            if member.isdir():
                yield member.name, 0, None
            elif member.issym() or member.islnk():
                yield member.name, 0, _link(member.name, member.linkname)
            elif not member.isreg() or member.issparse():
                yield (
                    member.name,
                    member.size,
                    Fault("special", f"{member.name}: a device, pipe or sparse file. Remove it."),
                )
            elif member.size > MAX_MEMBER_BYTES:
                yield member.name, member.size, _too_large(member.name, member.size)
            else:
                stream = tar.extractfile(member)
                assert stream is not None
                yield member.name, member.size, stream.read()


def _zip_members(file: Path) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            mode = member.external_attr >> 16
            name = member.filename
            if member.is_dir():
                yield name, 0, None
            elif stat.S_ISLNK(mode):
                yield name, 0, _link(name, "its target")
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                yield name, 0, Fault("special", f"{name}: a device or pipe. Remove it.")
            elif member.flag_bits & 1:
                yield name, 0, Fault("unreadable", f"{name}: encrypted. Deliver it without a password.")
            elif member.file_size > MAX_MEMBER_BYTES:
                yield name, member.file_size, _too_large(name, member.file_size)
            else:
                yield name, member.file_size, _read(archive, member)


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes | Fault:
    """Its content: never more than it declares, as zipfile stops there and then checks the sum."""
    try:
        return archive.read(member)
    except DAMAGE as error:
        if _is_of_disk(error):
            raise
        return Fault("broken", f"{member.filename}: cannot be unpacked ({error}). Deliver it again.")


def _link(name: str, target: str) -> Fault:
    return Fault("link", f"{name}: a link to {target}. Deliver the file itself.")


def _too_large(name: str, size: int) -> Fault:
    return Fault("size", f"{name}: {size:,} bytes, expected at most {MAX_MEMBER_BYTES:,}. Deliver crops of one person.")
