"""Every version of the data that git remembers, and which objects of DVC hold whose images."""

from __future__ import annotations

import posixpath
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from itkm.data.manifest import MANIFEST_FILE, read_manifest
from itkm.data.shards import index_shard
from itkm.errors import InputError
from itkm.files import sha256
from itkm.purge.stores import TREE, Store, copy_object, read_tree
from itkm.purge.traces import Subject, Traces, holds, traces_of

DERIVED = ("artifacts", "reports")
REPORT = "reports/report.html"  # shows images of all scenarios
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # safe, and where it can be fast: there may be many versions


@dataclass
class Past:
    """What the versions of the data and of the results hold of a subject.

    Attributes:
        traces: of all its images, in any version.
        objects: those that hold an image, a feature or a row of it, and where DVC knows them from.
        manifests: SHA-256 of the manifests that list it; models name theirs.
        unread: versions whose manifest is neither in the cache nor on a remote.
    """

    traces: Traces
    objects: dict[str, str] = field(default_factory=dict)
    manifests: set[str] = field(default_factory=set)
    unread: int = 0


def look_back(root: Path, subject: Subject, traces: Traces, scenarios: set[str], stores: list[Store]) -> Past:
    """Looks through every version of the data and results that git and DVC know.

    Args:
        root: the project's folder.
        subject: whose images go.
        traces: what is known of them already.
        scenarios: whose results go with them.
        stores: DVC's cache and remotes.
    """
    past = Past(traces)
    versions, derived = _versions(root, subject.scenario, scenarios, stores)
    for tree in versions:
        _add_version(past, tree, subject, stores)
    past.objects.update(derived)
    for store in stores:
        if store.is_near:
            _add_unnamed(past, store)
    return past


def _versions(
    root: Path, scenario: str, scenarios: set[str], stores: list[Store]
) -> tuple[list[dict[str, str]], dict[str, str]]:
    """Each version of a scenario's folder (path to object), and all objects that were derived from the scenarios."""
    prefix = f"data/{scenario}/"
    versions: list[dict[str, str]] = []
    derived: dict[str, str] = {}
    for path, name in sorted(set(_entries(root))):
        files = {path: name}
        if name.endswith(TREE):
            files = {posixpath.join(path, own): md5 for own, md5 in read_tree(name, stores).items()}
        own = {place.removeprefix(prefix): md5 for place, md5 in files.items() if place.startswith(prefix)}
        if own:
            versions.append(own)
        derived.update({md5: place for place, md5 in files.items() if is_derived(place, scenarios)})
    return versions, derived


def is_derived(path: str, scenarios: Iterable[str]) -> bool:
    """Whether a result tells of images of these scenarios: features, labels, tables and pages do, weights not."""
    parts = Path(path).parts
    return path == REPORT or (parts[0] in DERIVED and not {Path(part).stem for part in parts[1:]}.isdisjoint(scenarios))


def _add_version(past: Past, tree: dict[str, str], subject: Subject, stores: list[Store]) -> None:
    """One version of the scenario's folder: its manifest tells which shards hold the subject."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if not copy_object(tree.get(MANIFEST_FILE, ""), stores, folder / MANIFEST_FILE):
            past.unread += 1
            return
        try:
            manifest = read_manifest(folder)
        except InputError:  # of an older schema: its shards are found by their content
            past.unread += 1
            return
        rows = subject.rows(manifest) | manifest["path"].isin(past.traces.names).to_numpy(dtype=bool)
        if not rows.any():
            return
        shards = sorted(set(manifest["shard"][rows]) & set(tree))
        for shard in shards:
            _copy_shard(tree[shard], stores, folder / shard)
        past.traces |= traces_of(manifest, rows, folder, scenario=subject.scenario)
        past.objects.update({tree[name]: f"data/{subject.scenario}/{name}" for name in [MANIFEST_FILE, *shards]})
        past.manifests.add(sha256(folder / MANIFEST_FILE))


def _copy_shard(name: str, stores: list[Store], target: Path) -> None:
    """`copy_object` of a shard, which may be missing but not damaged: it tells by what its images are known again."""
    if copy_object(name, stores, target):
        try:
            index_shard(target)
        except InputError as error:
            raise InputError(
                f"DVC's object {name}, the shard {target.name} of an older version: it is damaged. Bring it back whole "
                "or remove it from the cache and the remotes, then type the same command again."
            ) from error


def _add_unnamed(past: Past, store: Store) -> None:
    """Objects that no version names, or under another name: found by their content."""
    for name in store.objects():
        if name in past.objects or name.endswith(TREE):
            continue
        with store.open(name) as stream:
            if holds(stream, store.size(name), past.traces, name=store.odb.oid_to_path(name)):
                past.objects[name] = "found by its content"


def _entries(root: Path) -> Iterator[tuple[str, str]]:
    """Every (path, object) that a `.dvc` file, a `dvc.lock` or DVC's run cache names, in any version."""
    for file, text in [*_committed(root), *_present(root)]:
        try:
            content = yaml.load(text, Loader=LOADER)
        except yaml.YAMLError:
            continue
        folder = posixpath.dirname(file) if file.endswith(".dvc") else ""
        yield from _outs(content, posixpath.join(folder, (content or {}).get("wdir", "")))


def _outs(content: Any, folder: str) -> Iterator[tuple[str, str]]:
    if not isinstance(content, dict):
        return
    parts = [content, *(content.get("stages") or {}).values()]
    for entry in (entry for part in parts for kind in ("outs", "deps") for entry in part.get(kind) or []):
        if "md5" in entry and "path" in entry:
            yield posixpath.normpath(posixpath.join(folder, entry["path"])), entry["md5"]


def _present(root: Path) -> Iterator[tuple[str, str]]:
    """The files as they are now, committed or not, and the run cache."""
    folders = [file for file in root.iterdir() if not file.name.startswith(".") and file.is_dir()]
    files = [root / "dvc.lock", *root.glob("*.dvc"), *(file for own in folders for file in own.rglob("*.dvc"))]
    for file in files:
        if file.is_file():
            yield file.relative_to(root).as_posix(), file.read_text(encoding="utf-8")
    for file in (root / ".dvc" / "cache" / "runs").rglob("*"):
        if file.is_file():
            yield "dvc.lock", file.read_text(encoding="utf-8")


def _committed(root: Path) -> Iterator[tuple[str, str]]:
    """The files of every commit of every branch, tag and experiment, and of what was cut off from them."""
    listed = _git(root, "rev-list", "--objects", "--all", "--reflog", "--", "dvc.lock", "*.dvc")
    prefix = _git(root, "rev-parse", "--show-prefix").decode().strip()
    for line in listed.decode().splitlines():
        blob, _, path = line.partition(" ")
        if path.startswith(prefix) and path.endswith((".dvc", "dvc.lock")):
            yield path.removeprefix(prefix), _git(root, "cat-file", "blob", blob).decode("utf-8", "replace")


def in_git(root: Path, folder: Path) -> frozenset[str]:
    """The files below a folder that any commit holds, relative to the project."""
    if not folder.is_relative_to(root):
        return frozenset()
    place = folder.relative_to(root).as_posix()
    said = _git(root, "log", "--all", "--format=", "--name-only", "--diff-filter=A", "--relative", "--", place)
    return frozenset(said.decode().split("\n")) - {""}


def _git(root: Path, *arguments: str) -> bytes:
    """What a git command prints; nothing where the project is not under git."""
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True)
    return done.stdout if done.returncode == 0 else b""
