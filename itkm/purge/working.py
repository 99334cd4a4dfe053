"""What lies in the project's folder: shards and manifests, results, galleries, and copies of the images."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from itkm.data.manifest import MANIFEST_FILE, read_manifest, write_manifest
from itkm.data.shards import HIDDEN, members_of
from itkm.feeds.feed import FEED_FILE, PROFILE_FILE, REPORT_FILE, Feed
from itkm.feeds.reference import CACHE
from itkm.files import replacing, write_npz
from itkm.purge.history import DERIVED, is_derived
from itkm.purge.traces import Form, Subject, Traces, file_holds, table_rows

LEFT_ALONE = {".git", ".venv", "__pycache__"}
HIDDEN_RESULTS = {HIDDEN / "checkpoints": "checkpoints", CACHE: "features"}
"""Folders with features, and what they hold: a training can begin again without them, feeds make theirs again."""

STAGING = HIDDEN / "import"  # of an import that was cut off
CLONES = f"{HIDDEN}/*/*/.dvc"  # of the project, in which retraining and ablation run; they can be made again


@dataclass(frozen=True)
class Item:
    """One thing that goes, or is written anew without them.

    Attributes:
        kind: shown before its name.
        name: where it is.
        size: bytes that go or are written anew.
        erase: does it; a second call changes nothing.
    """

    kind: str
    name: str
    size: int
    erase: Callable[[], None]


def find_data(root: Path, subject: Subject, scenario: str, traces: Traces) -> Iterator[Item]:
    """What a scenario's folder holds: first the manifest's rows, so that it never names an image that is gone.

    Args:
        root: the project's folder.
        subject: whose images go.
        scenario: of the folder; the same images may lie in another than the subject's.
        traces: what tells the images.
    """
    folder = root / "data" / scenario
    file = folder / MANIFEST_FILE
    if file.is_file():
        manifest = read_manifest(folder)
        gone = int(_rows(manifest, subject, traces).sum())
        if gone:
            name = f"{file.relative_to(root).as_posix()}: {gone} of {len(manifest)} rows"
            yield Item("manifest", name, file.stat().st_size, partial(_drop_rows, folder, subject, traces))
    if (folder / STAGING).is_dir():
        yield _folder(root, folder / STAGING, "unfinished import")
    for shard in sorted(folder.rglob("*.tar")):
        if file_holds(shard, traces):
            name = shard.relative_to(root).as_posix()
            yield Item("shard", name, shard.stat().st_size, partial(_drop_members, shard, traces))


def find_derived(root: Path, scenarios: Iterable[str]) -> Iterator[Item]:
    """Results that tell of the scenarios' images, what a training that was cut off left, and clones with all of it."""
    for place in DERIVED:
        for file in sorted((root / place).rglob("*")):
            name = file.relative_to(root).as_posix()
            if is_derived(name, scenarios) and not file.is_dir():
                yield Item("result", name, file.stat().st_size, partial(file.unlink, missing_ok=True))
    for folder, kind in HIDDEN_RESULTS.items():
        if (root / folder).is_dir():
            yield _folder(root, root / folder, kind)
    for clone in _clones(root):
        yield _folder(root, clone, "clone")


def find_elsewhere(root: Path, subject: Subject, traces: Traces, skipped: Iterable[Path]) -> Iterator[Item]:
    """What lies anywhere else in the project: feeds, galleries and tables, and files that are or hold an image.

    Args:
        root: the project's folder.
        subject: whose images go.
        traces: what tells the images.
        skipped: folders that are looked at elsewhere.

    Raises:
        InputError: a feed that cannot be read, so that nobody knows whose images it holds.
    """
    leave = {*map(root.joinpath, DERIVED), *map(root.joinpath, HIDDEN_RESULTS), *_clones(root), *skipped}
    for parent, folders, names in os.walk(root):
        if FEED_FILE in names:
            if _is_of(subject, Path(parent)):
                yield _folder(root, Path(parent), "feed")
                folders.clear()
                continue
            yield from _shown(root, Path(parent), traces)
        folders[:] = sorted(own for own in folders if own not in LEFT_ALONE and Path(parent, own) not in leave)
        for file in (Path(parent, name) for name in sorted(names)):
            if not file.is_symlink() and file.is_file() and (seen := file_holds(file, traces)):
                kind, erase = HOLDERS[seen]
                yield Item(kind, file.relative_to(root).as_posix(), file.stat().st_size, partial(erase, file, traces))


def _is_of(subject: Subject, folder: Path) -> bool:
    """Whether a feed is of the camera: then all of it goes, as what was refused is in no manifest."""
    feed = Feed.load(folder)
    return (feed.scenario, feed.camera) == (subject.scenario, subject.camera)


def _shown(root: Path, folder: Path, traces: Traces) -> Iterator[Item]:
    """The report of a feed with some of the images, shown small; its table, which tells so, loses their rows later."""
    table, report = folder / PROFILE_FILE, folder / REPORT_FILE
    if report.is_file() and table.is_file() and file_holds(table, traces):
        name = report.relative_to(root).as_posix()
        yield Item("report", name, report.stat().st_size, partial(report.unlink, missing_ok=True))


def _clones(root: Path) -> list[Path]:
    return [mark.parent for mark in sorted(root.glob(CLONES))]


def _rows(manifest: pd.DataFrame, subject: Subject, traces: Traces) -> pd.Series[bool]:
    """Which rows of a manifest go: the subject's, and those of the same images in another scenario or camera."""
    same = manifest["path"].str.extract(r"([0-9a-f]{16})[^/]*$")[0].isin({digest[:16] for digest in traces.images})
    own = manifest["scenario"] == subject.scenario
    return same | (own & (pd.Series(subject.rows(manifest)) | manifest["path"].isin(traces.names)))


def _drop_rows(folder: Path, subject: Subject, traces: Traces) -> None:
    """Writes the manifest without the images; with no row left, there is none."""
    manifest = read_manifest(folder)
    rows = _rows(manifest, subject, traces)
    if rows.all():
        (folder / MANIFEST_FILE).unlink()
    else:
        write_manifest(manifest[~rows], folder)


def _drop_members(file: Path, traces: Traces) -> None:
    """Writes a tar without the images, all else in its order; with nothing left, there is none."""
    with (
        replacing(file) as temporary,
        tarfile.open(file, "r:") as old,
        tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in members_of(old):
            content = old.extractfile(member) if member.isreg() else None
            if content is None or not traces.of_content(content.read()):
                new.addfile(member, content and old.extractfile(member))
        is_empty = not new.getmembers()
    if is_empty:
        file.unlink()


def _drop_features(file: Path, traces: Traces) -> None:
    """Writes a file of features without the images' rows; with none left, there is none."""
    with np.load(file, allow_pickle=False) as stored:
        arrays = dict(stored)
    rows = ~traces.rows(arrays["path"], arrays.get("scenario")) if "path" in arrays else np.zeros(0, dtype=bool)
    if rows.any():
        write_npz(file, {name: own[rows] if own.shape[:1] == rows.shape else own for name, own in arrays.items()})
    else:
        file.unlink()


def _drop_table_rows(file: Path, traces: Traces) -> None:
    """Writes a table without the images' rows; with none left, there is none."""
    frame = pd.read_parquet(file)
    rows = table_rows(frame, traces)
    if rows.all():
        file.unlink()
        return
    with replacing(file) as temporary:
        frame[~rows].to_parquet(temporary, index=False)


def _remove(file: Path, _: Traces) -> None:
    file.unlink(missing_ok=True)


HOLDERS: dict[Form, tuple[str, Callable[[Path, Traces], None]]] = {
    "image": ("copy", _remove),
    "npz": ("gallery", _drop_features),
    "parquet": ("table", _drop_table_rows),
    "tar": ("tar", _drop_members),
}
"""What a file that is or holds an image is called, and what takes the images out of it, all else staying."""


def _folder(root: Path, folder: Path, kind: str) -> Item:
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Item(kind, folder.relative_to(root).as_posix(), size, partial(shutil.rmtree, folder, ignore_errors=True))
