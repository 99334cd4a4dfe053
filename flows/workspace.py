"""A private clone for each flow run: the user's work tree is never touched, and runs do not disturb each other.

Clones share the DVC cache and the remotes of their project, nothing else.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from prefect import get_run_logger

from flows.locks import alone
from flows.process import RUNS, CommandError, git
from itkm.errors import InputError
from itkm.files import require_space

LINKS = "reflink,hardlink,symlink,copy"  # a clone's data take no space, where the disk can link
BASE = "refs/itkm/base"  # the commit from which a clone was made
DAY = 86400  # seconds


@contextlib.contextmanager
def workspace(project: Path, name: str, *, free: int, days: float) -> Iterator[Path]:
    """A clone of a project's last commit on the branch `retrain/<name>`; the same name finds the same clone again.

    It stays after the block, to be looked into and to be resumed; clones that no run uses are removed after some days.

    Args:
        project: a folder under git with a project of DVC.
        name: of the flow run.
        free: bytes that must be free on the disk.
        days: how long clones stay.

    Raises:
        InputError: too little space, or no commit to clone.
    """
    runs = project / RUNS
    require_space(runs, free)
    remove_stale(runs, days=days)
    with alone(runs / f"{name}.lock", patient=True):  # a run that was taken for crashed may still end in it
        folder = runs / name
        if not (folder / ".complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _clone(project, folder, branch=f"retrain/{name}")
            (folder / ".complete").touch()
        yield folder


def remove_stale(runs: Path, *, days: float) -> list[Path]:
    """Removes the clones that no run has used for some days; returns them."""
    removed = []
    for lock in sorted(runs.glob("*.lock")):
        if time.time() - lock.stat().st_mtime < days * DAY:
            continue
        with contextlib.suppress(InputError), alone(lock):
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink()
            removed.append(lock.with_suffix(""))
    return removed


def is_new(folder: Path) -> bool:
    """Whether a clone holds anything that the commit from which it was made does not."""
    git("add", "--all", cwd=folder)
    return bool(git("diff", "--cached", "--name-only", BASE, cwd=folder))


def commit(folder: Path, message: str) -> None:
    """Commits all changes in a clone, if there are any; results that are the same become the same tree."""
    _sort_lock(folder)
    git("add", "--all", cwd=folder)
    if git("status", "--porcelain", cwd=folder):
        git("commit", "--quiet", "--no-verify", "--message", message, cwd=folder)


def published(folder: Path, project: Path) -> str | None:
    """The pushed branch of an earlier run that holds just what this clone holds."""
    git("fetch", "--quiet", "--prune", upstream(project), "+refs/heads/retrain/*:refs/published/retrain/*", cwd=folder)
    tree = git("rev-parse", "HEAD^{tree}", cwd=folder)
    listed = git("for-each-ref", "--format=%(tree) %(refname:lstrip=2)", "refs/published", cwd=folder)
    return next((branch for held, branch in map(str.split, listed.splitlines()) if held == tree), None)


def push(folder: Path, project: Path) -> str:
    """Pushes a clone's branch, and returns its name."""
    branch = git("branch", "--show-current", cwd=folder)
    git("push", "--quiet", upstream(project), branch, cwd=folder)
    return branch


def upstream(project: Path) -> str:
    """Where a project's branches are pushed: its `origin`, or itself where it has none."""
    try:
        address = git("remote", "get-url", "origin", cwd=project)
    except CommandError:
        return str(project)
    place = project / address  # a relative one counts from the project, not from a clone
    return str(place.resolve()) if place.exists() else address


def _sort_lock(folder: Path) -> None:
    """Sorts dvc.lock by name: DVC adds stages as they end, and of those that run at once any may end first."""
    from dvc.utils.serialize import modify_yaml

    with modify_yaml(str(folder / "dvc.lock")) as lock:
        lock["stages"] = dict(sorted(lock["stages"].items()))


def _clone(project: Path, folder: Path, *, branch: str) -> None:
    """Clones the last commit and points DVC to the project's cache and remotes."""
    from dvc.config import Config

    try:
        git("rev-parse", "--verify", "--quiet", "HEAD", cwd=project)
        changed = git("status", "--porcelain", cwd=project)
    except CommandError as error:
        raise InputError(f"{project}: has no commit of git to work from. Commit the project first.") from error
    if changed:
        get_run_logger().warning("not committed in %s, so no part of this run:\n%s", project, changed)
    git("clone", "--quiet", str(project), str(folder), cwd=project)
    git("switch", "--quiet", "--create", branch, cwd=folder)
    git("update-ref", BASE, "HEAD", cwd=folder)
    shared = Config(str(project / ".dvc"))
    with Config(str(folder / ".dvc")).edit("local") as own:
        own["cache"] = {"dir": shared["cache"].get("dir") or str(project / ".dvc" / "cache"), "type": LINKS}
        own["remote"] = {name: dict(options) for name, options in shared["remote"].items()}
    exclude = folder / ".git" / "info" / "exclude"
    exclude.write_text(exclude.read_text(encoding="utf-8") + "/.complete\n", encoding="utf-8")
