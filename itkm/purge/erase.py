"""Carries a purge out. Each step may be repeated: one that was cut off is finished by the same command."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
from pathlib import Path

import yaml

from itkm.data.shards import HIDDEN
from itkm.errors import ItkmError
from itkm.files import locked
from itkm.purge.plan import Plan, keep_journal, make_plan
from itkm.purge.stores import CACHE

logger = logging.getLogger(__name__)


def erase(plan: Plan) -> int:
    """Erases the subject of a plan and returns the number of files.

    What goes is looked for once more when nobody can import or accept a feed any longer: one may have come in since the
    plan was made. First the project's folder; then DVC records the data as they are now and pushes them, so that no
    remote is left without the images that stay; only then the old objects go.

    Raises:
        InputError: an import or an acceptance is under way, or a feed cannot be read; nothing was changed.
        ItkmError: something is still there, or DVC failed; the same command goes on.
    """
    with contextlib.ExitStack() as held:
        for scenario in sorted(plan.journal.scenarios):
            if (folder := plan.root / "data" / scenario).is_dir():
                held.enter_context(locked(folder / HIDDEN))
        now = make_plan(plan.root, plan.subject)
        if now.journal.scenarios <= plan.journal.scenarios:
            return _erase(now)
    return erase(now)  # the images came into another scenario, too, which was not held


def _erase(plan: Plan) -> int:
    found = list(plan.in_project())  # before the first goes: what cannot be read stops it here
    keep_journal(plan)
    count = 0
    for item in found:
        logger.info("%s %s", item.kind, item.name)
        item.erase()
        count += 1
    _record_data(plan)
    for item in plan.in_stores():
        logger.info("%s %s", item.kind, item.name)
        item.erase()
        count += 1
    left = [f"{item.kind} {item.name}" for item in (*plan.in_project(), *plan.in_stores())]
    if left:
        raise ItkmError(f"{left[0]} is still there, and {len(left) - 1} more. Type the same command again.")
    plan.file.unlink(missing_ok=True)
    return count


def _record_data(plan: Plan) -> None:
    """Tells DVC of the data as they are now, and copies them to every remote that had the old ones."""
    found = tracked_by(plan.root, plan.subject.scenario)
    if found is None or not plan.stores:
        return
    file, out = found
    if not (plan.root / out).exists():
        return
    _dvc(plan.root, "add", "--quiet", out)
    for store in plan.stores:
        if store.name != CACHE and any(store.has(name) for name in plan.journal.objects):
            _dvc(plan.root, "push", "--quiet", "--remote", store.name, file)


def tracked_by(root: Path, scenario: str) -> tuple[str, str] | None:
    """The `.dvc` file that tracks a scenario's folder, and what it tracks; None where DVC does not."""
    for file in ("data.dvc", f"data/{scenario}.dvc"):
        if (root / file).is_file():
            out = yaml.safe_load((root / file).read_text(encoding="utf-8"))["outs"][0]["path"]
            return file, (Path(file).parent / out).as_posix()
    return None


def _dvc(root: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())[-500:]
        raise ItkmError(f"`dvc {' '.join(arguments)}` failed: {said} Then type the same command again: it goes on.")
