"""Where DVC keeps bytes: its cache and every remote. What no version names any more lies there still."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from itkm.errors import InputError

CACHE = "cache"
TREE = ".dir"  # ends the name of an object that lists the files of a folder


@dataclass(frozen=True)
class Store:
    """One place with DVC's objects, each named by its MD5.

    Attributes:
        name: `cache`, or the remote's.
        odb: DVC's object database.
    """

    name: str
    odb: Any

    @property
    def is_near(self) -> bool:
        """Whether it lies on this machine, so that all its objects can be looked through."""
        return "local" in self.odb.fs.protocol

    def has(self, name: str) -> bool:
        """Whether an object is there."""
        return bool(self.odb.exists(name))

    def size(self, name: str) -> int:
        """Of an object, in bytes."""
        return int(self.odb.fs.size(self.odb.oid_to_path(name)))

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """An object's content."""
        with self.odb.fs.open(self.odb.oid_to_path(name), "rb") as stream:
            yield stream

    def erase(self, name: str) -> None:
        """Removes an object; nothing happens where it is not there."""
        if self.has(name):
            self.odb.delete(name)

    def objects(self) -> Iterator[str]:
        """The names of all objects."""
        yield from self.odb.all()

    def folder(self) -> Path | None:
        """Where it lies on this machine; None where it does not."""
        return Path(self.odb.path) if self.is_near else None


def open_stores(root: Path) -> list[Store]:
    """DVC's cache and all remotes of a project; empty where it is not under DVC.

    Raises:
        InputError: a remote cannot be reached, or keeps versions of its own.
    """
    if not (root / ".dvc").is_dir():
        return []
    from dvc.repo import Repo

    repo = Repo(str(root))
    stores = [Store(CACHE, repo.cache.local)]
    for name, options in repo.config["remote"].items():
        if options.get("version_aware") or options.get("worktree"):
            raise InputError(
                f"remote {name!r}: it keeps versions by itself, out of our reach. Erase them there, then take "
                "version_aware and worktree out of .dvc/config. Nothing was changed."
            )
        try:
            odb = repo.cloud.get_remote_odb(name=name)
            odb.fs.ls(odb.fs.parent(odb.fs.parent(odb.path)))  # the remote's own folder
        except Exception as error:  # each kind of remote has errors of its own
            raise InputError(
                f"remote {name!r}: cannot be reached ({error}). Make it reachable, or if it is gone remove it with "
                f"`dvc remote remove {name}`. Nothing was changed."
            ) from error
        stores.append(Store(name, odb))
    return stores


def read_tree(name: str, stores: list[Store]) -> dict[str, str]:
    """The files of a folder's object, relative path to object; empty where no store has it."""
    for store in stores:
        if store.has(name):
            with store.open(name) as stream:
                return {entry["relpath"]: entry["md5"] for entry in json.load(stream)}
    return {}


def copy_object(name: str, stores: list[Store], target: Path) -> bool:
    """Copies an object to a file, from the first store that has it; False where none has."""
    for store in stores:
        if store.has(name):
            target.parent.mkdir(parents=True, exist_ok=True)
            with store.open(name) as stream, target.open("wb") as copy:
                while block := stream.read(1 << 20):
                    copy.write(block)
            return True
    return False
