"""Commands of a flow: each in a process group of its own, its output in the flow run's log while it runs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from prefect import get_run_logger
from prefect.runtime import flow_run

from itkm.errors import InputError, ItkmError

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State, TaskRun
    from prefect.tasks import Task

GUARD = Path(__file__).with_name("guard.py")
GRACE = 10.0  # seconds between SIGINT and SIGKILL; Prefect gives a cancelled flow 30
KILLED = 137  # 128 + SIGKILL: by the kernel, where memory ran out
TRANSIENT = re.compile(
    r"exited with (-9|137)\b|out ?of ?memory|cannot allocate memory|input/output error|temporarily unavailable",
    re.IGNORECASE,
)
RUNS = Path(".itkm", "runs")  # clones of a project, in its folder: see workspace.py
LATER = 1  # exit code of `itkm model` where no server answers, or a data base is locked
# Commits of a flow have an author wherever it runs, and ask nobody for a passphrase.
GIT = {
    **{f"GIT_{who}_NAME": "ITKM flows" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "flows@localhost" for who in ("AUTHOR", "COMMITTER")},
    **{"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "commit.gpgsign", "GIT_CONFIG_VALUE_0": "false"},
}
TOLD = 20  # last lines of a failed command that its error repeats

_running: set[subprocess.Popen[str]] = set()


class CommandError(ItkmError):
    """A command of a flow ended with an exit code that was not expected; that of a bad input becomes our own."""

    def __init__(self, message: str, *, code: int, transient: bool) -> None:
        super().__init__(message)
        self.code = code
        self.transient = transient
        if code == InputError.exit_code:
            self.exit_code = code


def is_transient(_task: Task[..., object], _run: TaskRun, state: State[object]) -> bool:
    """Whether the same command may succeed when it is run again: it was killed, or lacked memory or a disk."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, CommandError) and error.transient


# Results stay in the process that uses them; what Prefect keeps of an error is JSON, never a pickle.
PLAIN: dict[str, Any] = {"persist_result": False, "result_serializer": "json"}
RETRIES: dict[str, Any] = {"retries": 2, "retry_delay_seconds": [10, 60], "retry_condition_fn": is_transient}


def run(
    arguments: list[str],
    *,
    cwd: Path,
    codes: Collection[int] = (0,),
    hours: float | None = None,
    output: IO[str] | None = None,
) -> tuple[int, list[str]]:
    """Runs a command to its end; whatever stops the caller stops the command with all that it started.

    Args:
        arguments: the program and its arguments; no shell reads them.
        cwd: where it runs.
        codes: exit codes that are no failure.
        hours: after which it is stopped.
        output: receives its standard output, which is logged otherwise.

    Returns:
        Its exit code, and the lines that it logged.

    Raises:
        CommandError: another exit code, or too many hours; it repeats the last lines.
    """
    logger = get_run_logger()
    lines: list[str] = []
    late = threading.Event()
    with _guarded(arguments, cwd, output) as process, _alarm(process, hours, late):
        for line in (process.stderr if output else process.stdout) or ():
            if line.strip():
                lines.append(line.rstrip())
                logger.info(lines[-1])
        code = process.wait()
        stopped = process.stdin is not None and process.stdin.closed
    if code in codes and not stopped:
        return code, lines
    why = f"stopped after {hours} hours" if late.is_set() else "stopped" if stopped else f"exit code {code}"
    said = "\n".join(lines[-TOLD:])
    transient = not stopped and (code == KILLED or bool(TRANSIENT.search(said)))
    raise CommandError(f"{' '.join(arguments)}: {why}\n{said}", code=code, transient=transient)


def model(*arguments: str, cwd: Path, codes: Collection[int] = (0,)) -> tuple[int, dict[str, Any]]:
    """Runs `itkm model ... --json` and returns its exit code and the object that it printed.

    Raises:
        CommandError: it failed; transient where it says by its code that it may work later.
    """
    command = [sys.executable, "-m", "itkm", "model", *arguments, "--json"]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        try:
            code, _ = run(command, cwd=cwd, codes=codes, output=output)
        except CommandError as error:
            raise CommandError(str(error), code=error.code, transient=error.transient or error.code == LATER) from error
        output.seek(0)
        answer: dict[str, Any] = json.load(output)
        return code, answer


def dvc(*arguments: str, cwd: Path, hours: float | None = None) -> list[str]:
    """Runs a command of DVC, which waits for its turn where another one holds the lock; returns its lines."""
    return run([sys.executable, "-m", "dvc", "--wait-for-lock", *arguments], cwd=cwd, hours=hours)[1]


def git(*arguments: str, cwd: Path) -> str:
    """Runs git and returns what it printed.

    Raises:
        CommandError: git failed; the message is its own, without the arguments, as an address may hold a password.
    """
    done = subprocess.run(["git", *arguments], cwd=cwd, env={**GIT, **os.environ}, capture_output=True, text=True)
    if done.returncode:
        command = f"git {arguments[0]} in {cwd}"
        raise CommandError(f"{command}: {done.stderr.strip()}", code=done.returncode, transient=False)
    return done.stdout.strip()


def stop_all() -> None:
    """Stops all commands that run in threads of this process; they end within the grace."""
    for process in tuple(_running):
        _stop(process)


@contextlib.contextmanager
def _guarded(arguments: list[str], cwd: Path, output: IO[str] | None) -> Iterator[subprocess.Popen[str]]:
    """A command behind its guard; leaving the block stops what still runs."""
    process = subprocess.Popen(
        [sys.executable, "-I", str(GUARD), str(GRACE), *arguments],
        cwd=cwd,
        env=_environment(cwd),
        stdin=subprocess.PIPE,
        stdout=output or subprocess.PIPE,
        stderr=subprocess.PIPE if output else subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    _running.add(process)
    try:
        yield process
    finally:
        _stop(process)
        process.wait()
        _running.discard(process)


@contextlib.contextmanager
def _alarm(process: subprocess.Popen[str], hours: float | None, late: threading.Event) -> Iterator[None]:
    """Stops a process that takes too long, and says so."""

    def ring() -> None:
        late.set()
        _stop(process)

    timer = threading.Timer((hours or 0) * 3600, ring)
    if hours is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _stop(process: subprocess.Popen[str]) -> None:
    """Lets the guard's input end, at which it ends the group."""
    assert process.stdin
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _environment(cwd: Path) -> dict[str, str]:
    """Our `python` is that of a stage, which prints without delay, and tracks its run where the whole project does."""
    place = cwd.resolve()
    project = place.parents[2] if place.match(f"{RUNS}/*") else place
    return {
        **GIT,
        "MLFLOW_TRACKING_URI": f"sqlite:///{project / 'mlflow.db'}",
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "ITKM_FLOW_RUN": flow_run.root_flow_run_id or "",
    }
