"""Files that are either whole or absent: write beside the target, fsync, rename."""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from itkm.errors import InputError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; it takes the place of `path` only if the block succeeds.

    Raises:
        InputError: the folder cannot be written, a file lies where a folder is needed, or the disk is full.
    """
    temporary: Path | None = None
    try:
        _make_folder(path)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(f"{path}: the disk is full. Free some space and run the same command again.") from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise InputError(f"{path}: no permission to write. Choose another folder or change its owner.") from error
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _make_folder(path: Path) -> None:
    """Makes the folder that `path` lies in."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        there = (parent for parent in path.parents if os.path.lexists(parent))  # the nearest is what stands in the way
        raise InputError(
            f"{path}: {next(there, path.parent)} is not a folder. Choose another place to write to, or move "
            "that file away."
        ) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically, sorted and indented, so that it can be compared by eye."""
    write_bytes(path, (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode())


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes rows with the same keys as CSV, atomically, with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, text.getvalue().encode())


def write_npz(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Writes arrays atomically; the same arrays give the same bytes."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **dict(arrays))


def require_space(folder: Path, needed: int) -> None:
    """Refuses work whose files would not fit, before it begins.

    Args:
        folder: where files will be written; it need not exist yet.
        needed: bytes.

    Raises:
        InputError: the disk that holds `folder` has less space.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise InputError(
            f"{folder}: {needed / 1e6:,.0f} MB needed, {free / 1e6:,.0f} MB free. Free some space or choose another "
            "disk."
        )


@contextlib.contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Holds a folder for one process, until the block or the process ends, however it ends.

    Args:
        folder: is made if it does not exist.
        wait: until another process lets it go; only where all hold it for a moment.

    Raises:
        InputError: another process holds it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise InputError(f"{folder}: cannot be used ({error.strerror}). Choose another folder.") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise InputError(f"{folder}: another `itkm` command works here. Wait for its end, then repeat.") from error
        yield
    finally:
        os.close(handle)
