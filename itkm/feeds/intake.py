"""A drop becomes a feed folder: claimed by one rename, then each file sorted into images/ or quarantine/ by one more.

At any moment each file of a drop is in exactly one place:

* **in the drop**, until the claim. A folder on the file system of the feed folder is claimed by renaming it whole.
  Everything else (a folder on another file system, a tar or zip, a table of crops, a video with boxes) is only read: it
  is copied into a hidden folder, read back, and the copy is claimed by a rename. The source then is the user's backup.
* **in the feed folder**: in claimed/, and from there in images/ or in quarantine/.
* **in an accepted shard**, as soon as the manifest names it (`itkm.feeds.accept`).

Killed at any moment and run again, it goes on from what lies where, and ends in the same state. Before the claim a
failure leaves the drop as it was, and no feed folder.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import cast

import pandas as pd

from itkm.data.manifest import MANIFEST_FILE, name_rows, read_manifest
from itkm.data.shards import MAX_MEMBER_BYTES
from itkm.errors import InputError
from itkm.feeds import archive, table, video
from itkm.feeds.feed import (
    ACCEPTANCE_FILE,
    CLAIMED,
    ENTRIES_FILE,
    FEED_FILE,
    IMAGES,
    QUARANTINE,
    Feed,
    remove_temporary,
)
from itkm.feeds.names import read_names, start_of
from itkm.feeds.profile import Row, frame_of, in_parallel, measure
from itkm.feeds.quarantine import Fault, Rule, fault_of_name, is_aside, kept_name, put_aside, reasons
from itkm.feeds.staging import Entry, Staging, read_entries, write_entries
from itkm.files import require_space, sha256

STAGING = ".claim"
SPACE = 50_000_000  # bytes that a profile and its report may take, beside a copy

Progress = Callable[[Iterable[Row], int], Iterable[Row]]
"""Wraps the loop over the rows of that many files, for a progress bar."""


def require_declared(feed: Feed, data: Path, *, new_camera: bool) -> None:
    """Refuses a group or camera that the accepted data do not have, before anything is claimed.

    Args:
        feed: as declared.
        data: the accepted data of its scenario; where there are none yet, all is new.
        new_camera: whether the camera was said to be new.

    Raises:
        InputError: a third group, or an unknown camera that was not said to be new: mostly a slip of the pen.
    """
    if not (data / MANIFEST_FILE).exists():
        return
    manifest = read_manifest(data)
    groups, cameras = (sorted(manifest[name].unique()) for name in ("group", "camera"))
    if feed.group not in groups and len(groups) > 1:
        raise InputError(f"--group {feed.group}: {data} has the groups {', '.join(groups)}. Give one of these.")
    if feed.camera not in cameras and not new_camera:
        near = difflib.get_close_matches(feed.camera, cameras, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise InputError(
            f"--camera {feed.camera}: {data} knows {name_rows(cameras, shown=12)}.{hint} Add --new-camera if it is new."
        )


def claim(source: Path, folder: Path, feed: Feed, *, boxes: Path | None = None, pattern: str) -> Feed:
    """Takes the files of a drop into a feed folder, or finds that an earlier call did.

    Args:
        source: a folder, a tar or zip, a csv or parquet table of crops, or with `boxes` a video.
        folder: the feed folder; it does not exist, is empty, or is that of this feed.
        feed: the identity; `source`, `boxes`, `claimed_at` and `stamp` are set here.
        boxes: csv of boxes.
        pattern: of file names; a video may name the time at which it starts.

    Returns:
        The identity as it was claimed.

    Raises:
        InputError: an unusable or empty source, another or an accepted feed in `folder`, no permission, or no space.
            The drop is then as it was.
    """
    if (folder / ACCEPTANCE_FILE).exists():
        raise InputError(f"{folder}: was accepted, its images are training data now. Choose another --out.")
    feed = replace(feed, source=str(source), boxes=str(boxes or ""), stamp=_stamp(source, boxes))
    if (folder / FEED_FILE).exists():
        known = _same(Feed.load(folder), feed, folder)
        if (folder / CLAIMED).exists() or known.content:
            return _claimed(known, source, folder)
        feed = known
    else:
        remove_temporary(folder.glob(f".{FEED_FILE}.*"))  # of a call that was killed as it wrote its first file
        if any(folder.iterdir()):
            raise InputError(f"{folder}: not a feed folder, and not empty. Choose another --out.")
        feed = replace(feed, claimed_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    with _all_or_nothing(folder):
        _require_usable(source, folder, boxes=boxes)
        feed.save(folder)
        if not source.is_dir():
            _copy(source, folder, boxes=boxes, pattern=pattern)
        elif not _moved(source, folder / CLAIMED):
            _copy_tree(source, folder)
    return feed


def sort_files(folder: Path, feed: Feed, *, pattern: str, progress: Progress) -> tuple[Feed, pd.DataFrame]:
    """Decodes each claimed file and moves it into images/ or quarantine/.

    Args:
        folder: the feed folder.
        feed: as `claim` returns it.
        pattern: of file names.
        progress: wraps the loop over files.

    Returns:
        The identity with its `content`, and the rows of the profile: images first, then what is put aside, each by
        path; what only accepted data can tell is unknown.

    Raises:
        InputError: the folder cannot be written or read.
    """
    entries = read_entries(folder)
    with _told(folder):
        remove_temporary(folder.glob(".*.*"), (folder / QUARANTINE).rglob(".*"))
        for entry in entries.values():
            known = is_aside(folder, entry.path) or (folder / CLAIMED / entry.path).exists()
            if entry.fault and not known:
                _put_aside(folder, entry.path, entry.fault, entry, file=None)
        waiting = sorted(_waiting(folder, entries))
        rows = in_parallel(partial(_measure_file, folder), waiting)
        images = [row for row in progress(rows, len(waiting)) if _sort(row, folder, entries)]
        content = hashlib.sha256("\n".join(sorted(str(row["sha256"]) for row in images)).encode()).hexdigest()
        feed = replace(feed, content=content)
        feed.save(folder)
        _remove_empty(folder / CLAIMED)
        frame = frame_of([*images, *map(_quarantined, reasons(folder))])
    return feed, read_names(frame, feed, entries, pattern=pattern)


def walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    """All that lies below a folder but folders, by name; no link is followed.

    Raises:
        OSError: a folder cannot be read.
    """
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: os.fsencode(entry.name))
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from walk(Path(entry.path))
        else:
            yield entry


def _same(known: Feed, feed: Feed, folder: Path) -> Feed:
    """The feed that lies in the folder, if it is the one that is asked for."""
    for name in ("camera", "scenario", "group", "source", "boxes"):
        if getattr(known, name) != getattr(feed, name):
            raise InputError(
                f"{folder}: holds the feed of {name} {getattr(known, name)!r}, not {getattr(feed, name)!r}. Choose "
                "another --out."
            )
    if feed.stamp and known.stamp != feed.stamp:
        files = " or ".join(filter(None, (feed.source, feed.boxes)))
        raise InputError(f"{folder}: holds an earlier {files}, which has changed since. Choose another --out.")
    return known


def _claimed(feed: Feed, source: Path, folder: Path) -> Feed:
    if not feed.stamp and source.is_dir() and next(walk(source), None) and not _was_copied(folder):
        raise InputError(f"{folder}: holds an earlier drop of {source}, in which new files lie. Choose another --out.")
    return feed


def _was_copied(folder: Path) -> bool:
    return (folder / ENTRIES_FILE).exists()


def _stamp(source: Path, boxes: Path | None) -> str:
    """Size and time of change of files that are only read; "" of a folder, or where one is gone."""
    files = [source] if boxes is None else [source, boxes]
    if not all(file.is_file() for file in files):
        return ""
    return " ".join(f"{status.st_size}-{status.st_mtime_ns}" for status in map(Path.stat, files))


def _require_usable(source: Path, folder: Path, *, boxes: Path | None) -> None:
    """Refuses what cannot be claimed, before anything is written."""
    if source.is_symlink() or not source.exists():
        raise InputError(
            f"{source}: no such folder or file{' (a link)' if source.is_symlink() else ''}. Give what to claim."
        )
    needed = SPACE
    if source.is_dir():
        if boxes is not None:
            raise InputError(f"{source}: a folder, and --boxes are those of one video. Give the video, or no boxes.")
        inner = next((path for path in (folder, Path.cwd()) if path.resolve().is_relative_to(source.resolve())), None)
        if inner is not None:
            raise InputError(f"{source}: {inner} lies in it, so that it cannot be claimed. Move the drop elsewhere.")
        sizes = [entry.stat(follow_symlinks=False).st_size for entry in walk(source)]
        if not sizes:
            raise InputError(f"{source}: no file in it. Expected crops of persons.")
        needed += 0 if source.stat().st_dev == folder.stat().st_dev else sum(sizes)
    else:
        needed += source.stat().st_size
    require_space(folder, needed)


def _moved(source: Path, target: Path) -> bool:
    """Claims a folder by renaming it; False if it lies on another file system."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return False
        raise
    return True


def _copy(source: Path, folder: Path, *, boxes: Path | None, pattern: str) -> None:
    """Claims a copy of what a file holds or lists."""
    staging = Staging(_fresh(folder / STAGING))
    if boxes is not None:
        video.cut(source, boxes, staging, start=start_of(source.name, pattern))
    elif source.suffix.lower() in table.SUFFIXES:
        table.copy_listed(source, staging)
    elif archive.is_archive(source):
        archive.unpack(source, staging)
    else:
        raise InputError(
            f"{source}: neither a folder, tar, zip, csv nor parquet file. Give one of these, or a video with --boxes."
        )
    _take(staging, folder)


def _copy_tree(source: Path, folder: Path) -> None:
    """Claims a copy of a folder on another file system."""
    staging = Staging(_fresh(folder / STAGING))
    for entry in walk(source):
        name = Path(entry.path).relative_to(source).as_posix()
        fault = _fault_of_kind(entry, name)
        staging.add(name, None if fault else Path(entry.path).read_bytes(), fault=fault)
    _take(staging, folder)


def _take(staging: Staging, folder: Path) -> None:
    write_entries(staging.entries, folder)
    os.sync()  # the copy is on the disk before it counts
    (folder / STAGING).rename(folder / CLAIMED)


def _fresh(folder: Path) -> Path:
    """A folder that does not exist; what an earlier copy left there is removed, as its source still has it."""
    if folder.exists():
        shutil.rmtree(folder)
    return folder


def _waiting(folder: Path, entries: Mapping[str, Entry]) -> Iterator[tuple[str, str]]:
    """Path and place (claimed/ or images/) of each file that is to be decoded; all others are put aside."""
    for place in (CLAIMED, IMAGES):
        root = folder / place
        for entry in list(walk(root)) if root.exists() else []:
            path = Path(entry.path).relative_to(root).as_posix()
            known = entries.get(path)
            fault = (known and known.fault) or fault_of_name(path) or _fault_of_kind(entry, path)
            if fault is None:
                yield path, place
            else:
                kept = path if known and known.fault else kept_name(path)
                _put_aside(folder, kept, fault, known or Entry(path, path), file=Path(entry.path))


def _fault_of_kind(entry: os.DirEntry[str], name: str) -> Fault | None:
    """Why something in a folder is not to be read; None for a plain file of sane size."""
    status = entry.stat(follow_symlinks=False)
    if entry.is_symlink():
        return Fault("link", f"{name}: a link. Deliver the file itself.")
    if not entry.is_file(follow_symlinks=False):
        return Fault("special", f"{name}: a device, pipe or socket. Remove it.")
    if status.st_nlink > 1:
        return Fault(
            "link", f"{name}: has another name elsewhere, by which it could change (a hard link). Copy the file."
        )
    if status.st_size > MAX_MEMBER_BYTES:
        return Fault("size", f"{name}: {status.st_size:,} bytes, expected at most {MAX_MEMBER_BYTES:,}. Deliver crops.")
    return None


def _measure_file(folder: Path, item: tuple[str, str]) -> Row:
    """The row of one file; in a process of its own."""
    path, place = item
    known: Row = {"path": path, "place": place}
    try:
        content = (folder / place / path).read_bytes()
    except OSError as error:
        reason = f"unreadable: {path}: cannot be read ({error.strerror}). Change its owner or mode."
        return {**known, "sha256": "", "bytes": -1, "decode_ok": False, "error": reason}
    return {**known, **measure(content, name=path)}


def _sort(row: Row, folder: Path, entries: Mapping[str, Entry]) -> bool:
    """Moves a measured file to where it belongs; True if that is images/."""
    path, place = str(row["path"]), str(row.pop("place"))
    file = folder / place / path
    if not row["decode_ok"]:
        rule, _, reason = str(row["error"]).partition(": ")
        fault = Fault(cast(Rule, rule), reason)
        _put_aside(folder, path, fault, entries.get(path, Entry(path, path)), file=file, digest=str(row["sha256"]))
    elif place == CLAIMED:
        target = folder / IMAGES / path
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
    return bool(row["decode_ok"])


def _put_aside(folder: Path, path: str, fault: Fault, entry: Entry, *, file: Path | None, digest: str = "") -> None:
    put_aside(folder, path, fault, name=entry.name, file=file, digest=digest or _digest(file))


def _digest(file: Path | None) -> str:
    """SHA-256 of a plain file, "" of anything that is none or cannot be read."""
    try:
        return sha256(file) if file is not None and file.is_file() and not file.is_symlink() else ""
    except OSError:
        return ""


def _quarantined(reason: Mapping[str, object]) -> Row:
    """The row of the profile of a file that was put aside."""
    error = f"{reason['rule']}: {reason['message']}"
    return {
        "path": reason["file"],
        "sha256": reason["sha256"],
        "bytes": reason["bytes"],
        "decode_ok": False,
        "error": error,
    }


def _remove_empty(folder: Path) -> None:
    """Removes folders in which nothing lies any more."""
    if folder.exists():
        for here, _, _ in os.walk(folder, topdown=False):
            Path(here).rmdir()


@contextlib.contextmanager
def _all_or_nothing(folder: Path) -> Iterator[None]:
    """What fails before the claim leaves nothing in the feed folder, which goes too if nothing else is in it."""
    try:
        with _told(folder):
            yield
    finally:
        if not (folder / CLAIMED).exists():
            _fresh(folder / STAGING)
            for name in (FEED_FILE, ENTRIES_FILE):
                (folder / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Failures of the file system that a user can mend, in words."""
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(f"{where}: the disk is full. Free some space and run the same command again.") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise InputError(
                f"{where}: no permission. Change its owner or mode, and run the same command again."
            ) from error
        if error.errno == errno.EBUSY:
            raise InputError(f"{where}: in use, for instance as a mount. Give a folder in it.") from error
        raise
