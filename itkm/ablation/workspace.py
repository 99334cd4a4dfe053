"""The private copy of a project in which variants are run by DVC: it shares the project's cache, and nothing else.

The user's files, branches and list of experiments stay as they are. What two runs have in common is computed once: DVC
finds a stage with the same code, inputs and params in the run cache, the project's own runs among them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from itkm.ablation.variants import Run
from itkm.errors import InputError, ItkmError
from itkm.files import sha256
from itkm.stages.layout import Layout

HOME = Path(".itkm/ablation")
TARGET = "evaluate"  # the report is not needed, and would be tracked
KEPT = ("itkm/ablation/epochs.py", "itkm/ablation/findings.py")  # code that says what is kept of a run
GRACE = 30  # seconds that DVC has to put its files in order when it is stopped
COMMIT = ("-c", "user.name=itkm", "-c", "user.email=itkm@localhost", "-c", "commit.gpgsign=false")

logger = logging.getLogger(__name__)


class Workspace:
    """A copy of the project in `.itkm/ablation/copy`, as its files are now, committed or not.

    Attributes:
        layout: where a run leaves its files.
        home: `.itkm/ablation`: the copy, `findings/` and `logs/`.
    """

    def __init__(self, project: Path, lock: int) -> None:
        self.home = (project / HOME).resolve()
        self._project, self._lock = project, lock
        self._copy = self.home / "copy"
        self.layout = Layout(self._copy)

    def refresh(self) -> None:
        """Makes the copy equal to the project: its files as they are, data and weights from DVC's cache.

        Raises:
            InputError: the project is not under git and DVC, or its data are not in DVC's cache.
        """
        tracked = [Path(name) for name in _git(self._project, "ls-files", "--cached", "--others", "--exclude-standard")]
        self._copy.mkdir(parents=True, exist_ok=True)
        if not (self._copy / ".git").exists():
            _git(self._copy, "init", "-q")
        for name in _git(self._copy, "ls-files"):
            (self._copy / name).unlink(missing_ok=True)
        for file in (own for own in tracked if (self._project / own).is_file()):
            (self._copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self._project / file, self._copy / file)
        _git(self._copy, "add", "--all")
        _git(self._copy, *COMMIT, "commit", "-q", "--no-verify", "--allow-empty", "-m", "the project as it is")
        pointers = [file.as_posix() for file in tracked if file.suffix == ".dvc"]
        if not pointers:
            raise InputError("no .dvc file here, so DVC has no data for the copy. Run `dvc add data models` first.")
        self._require_unchanged(pointers)
        cache = self._dvc(self._project, "cache", "dir").splitlines()[-1]  # behind warnings
        config = f'[cache]\n    dir = {cache}\n    type = "reflink,hardlink,copy"\n'
        (self._copy / ".dvc" / "config.local").write_text(config, encoding="utf-8")
        try:
            self._dvc(self._copy, "checkout", "--quiet", *pointers)
        except ItkmError as error:
            raise InputError(
                f"{error}\nData or weights are not in DVC's cache: run `dvc pull`, or `dvc add`."
            ) from error

    def key(self, run: Run) -> str:
        """What the result of a run depends on, as one hash: the stages' code, data, weights, params."""
        stages = yaml.safe_load((self._copy / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
        code = {name for stage in stages for name in stage.get("deps", ()) if name.startswith("itkm/")}
        listed = _git(self._copy, "ls-files", "--stage", "--", "dvc.yaml", "*.dvc", *KEPT, *sorted(code))
        weights = Path(run.params.get("model", {}).get("weights", ""))
        outside = [weights, *sorted(weights.rglob("*"))] if weights.is_absolute() else []
        hashes = [sha256(file) for file in outside if file.is_file()]
        content = json.dumps([listed, hashes, run.params], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def finding(self, run: Run) -> Path:
        """The folder of what is kept of a run."""
        return self.home / "findings" / f"{run.name}-{self.key(run)}"

    def log(self, run: Run) -> Path:
        """All that DVC and the stages said."""
        return self.home / "logs" / f"{run.name}.log"

    def execute(self, run: Run) -> int:
        """Runs a variant up to its evaluation; returns how many stages had to be computed.

        What an earlier run left is removed first: a stage that depends on a folder would see the files of scenarios
        that are not there. Checkpoints stay, so that an interrupted training goes on.

        Raises:
            ItkmError: a stage failed; the message is its own.
        """
        for folder in ("artifacts", "reports"):
            shutil.rmtree(self._copy / folder, ignore_errors=True)
        _git(self._copy, "reset", "-q", "--hard")
        _git(self._copy, "clean", "-q", "-f", "-d")
        name = f"{run.name}-{self.key(run)[:8]}"
        for reference in _git(self._copy, "for-each-ref", "--format=%(refname)", "refs/exps"):
            if reference.endswith(f"/{name}"):  # of a run that was stopped before its result was kept
                _git(self._copy, "update-ref", "-d", reference)
        params = yaml.safe_dump(run.params, default_flow_style=None, sort_keys=False)
        (self._copy / "params.yaml").write_text(params, encoding="utf-8")
        said = self._dvc(self._copy, "exp", "run", "--name", name, TARGET, log=self.log(run))
        return len(re.findall(r"^Running stage '", said, flags=re.MULTILINE))

    def _require_unchanged(self, pointers: Sequence[str]) -> None:
        """Data that were changed since DVC saw them would not be what the copy gets."""
        said = self._dvc(self._project, "status", "--json", *pointers)
        status = json.loads(said.strip().splitlines()[-1])  # behind warnings
        changed = [name for name, found in status.items() if "'modified'" in str(found)]
        if changed:
            names = " ".join(name.removesuffix(".dvc") for name in changed)
            raise InputError(f"{', '.join(changed)}: changed since DVC saw them. Run `dvc add {names}` first.")

    def _dvc(self, folder: Path, *arguments: str, log: Path | None = None) -> str:
        """Runs DVC in a process group of its own, which ends with us; returns what it printed.

        Raises:
            ItkmError: it failed.
        """
        ours = Path(sys.executable).parent  # its `python` is that of the stages
        log = log or self.home / "logs" / "dvc.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as stream:
            child = subprocess.Popen(
                [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments],
                cwd=folder,
                env={**os.environ, "PATH": f"{ours}{os.pathsep}{os.environ.get('PATH', '')}"},
                stdout=stream,
                stderr=subprocess.STDOUT,
                pass_fds=(self._lock,),  # the lock is held until the last of us has ended
                start_new_session=True,
            )
            try:
                code = child.wait()
            except BaseException:
                _stop(child)
                raise
        said = log.read_text(encoding="utf-8", errors="replace")
        if code:
            raise ItkmError(f"{_reason(said)} (dvc {arguments[0]}, exit {code}; see {log})")
        return said


@contextlib.contextmanager
def open_workspace(project: Path) -> Iterator[Workspace]:
    """The workspace of a project, for one ablation at a time: a second one waits.

    Raises:
        InputError: DVC is not installed.
    """
    if find_spec("dvc") is None:
        raise InputError("dvc is not installed, through which variants are run: pip install 'itkm[ops]'.")
    home = project / HOME
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.warning("another ablation, or a run of one that was killed, still works in %s: waiting for it", home)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield Workspace(project, lock.fileno())


def _stop(child: subprocess.Popen[Any]) -> None:
    """Ends DVC and its stage: asked first, so that its locks are freed."""
    for number, seconds in ((signal.SIGINT, GRACE), (signal.SIGKILL, GRACE)):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(child.pid, number)
            child.wait(seconds)
            return


def _reason(said: str) -> str:
    """The line that tells best why a run failed: the stage's own message, else DVC's last error."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for start in ("itkm: ", "ERROR: "):
        if found := [line for line in lines if line.startswith(start)]:
            return found[-1].removeprefix(start)
    return lines[-1] if lines else "no output"


def _git(folder: Path, *arguments: str) -> list[str]:
    """The lines that a git command prints.

    Raises:
        InputError: git failed, most likely as the project is not under git.
    """
    command = ["git", "-c", "core.quotePath=false", "-c", "core.hooksPath=/dev/null", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise InputError(
            f"git {arguments[0]}: {done.stderr.strip()}. An ablation needs the project under git: clone it, or run "
            "`git init`."
        )
    return done.stdout.splitlines()
