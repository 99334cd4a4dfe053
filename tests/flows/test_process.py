"""Commands of flows: nothing that they start outlives what stopped them, however that ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from prefect.logging import disable_run_logger

from flows import process
from flows.process import CommandError

ROOT = Path(__file__).parents[2]
# Starts a process of its own and tells both numbers; `first` says what it does on SIGINT.
FAMILY = """
import os, pathlib, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
{first}
pathlib.Path("pids.new").write_text(f"{{os.getpid()}} {{child.pid}}")
os.rename("pids.new", "pids")
{then}
"""
STUBBORN = FAMILY.format(first="signal.signal(signal.SIGINT, signal.SIG_IGN)", then="time.sleep(300)")
POLITE = FAMILY.format(
    first="",
    then="""
try:
    time.sleep(300)
except KeyboardInterrupt:
    pathlib.Path("cleaned").touch()
    sys.exit(130)
""",
)
LEAVING = FAMILY.format(first="", then="")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Outside of a flow run there is no log to write to; and nobody waits long for a stubborn process."""
    monkeypatch.setattr(process, "GRACE", 2.0)
    with disable_run_logger():
        yield


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def family(folder: Path) -> list[int]:
    """The process of `FAMILY` and its child, as soon as they are there."""
    until((folder / "pids").exists)
    return [int(pid) for pid in (folder / "pids").read_text().split()]


def all_gone(pids: list[int]) -> bool:
    """Whether none of them works any more."""
    return all(map(gone, pids))


def gone(pid: int) -> bool:
    """Whether a process has ended; init may be slow to take note of it."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def run_aside(code: str, folder: Path) -> tuple[threading.Thread, list[CommandError]]:
    """Runs a command in a thread, as tasks do, and keeps its error."""
    errors: list[CommandError] = []

    def body() -> None:
        with disable_run_logger():
            try:
                process.run(python(code), cwd=folder)
            except CommandError as error:
                errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    return thread, errors


def test_lines_and_code_come_back(tmp_path: Path) -> None:
    code, lines = process.run(python("print('a'); print(); print('b'); exit(3)"), cwd=tmp_path, codes=(0, 3))
    assert (code, lines) == (3, ["a", "b"])


def test_standard_output_can_be_kept_apart(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+") as output:
        _, lines = process.run(
            python("import sys; print('data'); print('told', file=sys.stderr)"), cwd=tmp_path, output=output
        )
        output.seek(0)
        assert (output.read(), lines) == ("data\n", ["told"])


@pytest.mark.parametrize(
    ("code", "transient"),
    [
        ("exit(2)", False),
        ("print('params.yaml: unknown parameter'); exit(255)", False),
        ("import os; os.kill(os.getpid(), 9)", True),
        ("print('failed to run: python x, exited with -9'); exit(255)", True),
        ("print('torch.OutOfMemoryError: CUDA out of memory.'); exit(1)", True),
        ("print('OSError: [Errno 5] Input/output error'); exit(1)", True),
        ("print('exited with 99'); exit(1)", False),
    ],
)
def test_only_what_may_pass_is_transient(code: str, transient: bool, tmp_path: Path) -> None:
    with pytest.raises(CommandError) as caught:
        process.run(python(code), cwd=tmp_path)
    assert caught.value.transient is transient


def test_an_error_repeats_what_the_command_said_last(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"exit code 2\n(.*\n)*line 99$"):
        process.run(python("[print('line', n) for n in range(100)]; exit(2)"), cwd=tmp_path)


def test_a_stopped_command_may_clean_up(tmp_path: Path) -> None:
    thread, errors = run_aside(POLITE, tmp_path)
    members = family(tmp_path)
    process.stop_all()
    thread.join(30)
    until(lambda: all_gone(members))
    assert (tmp_path / "cleaned").exists()
    assert not errors[0].transient


def test_a_stubborn_command_is_killed_with_its_children(tmp_path: Path) -> None:
    thread, errors = run_aside(STUBBORN, tmp_path)
    members = family(tmp_path)
    process.stop_all()
    thread.join(30)
    until(lambda: all_gone(members))
    assert "stopped" in str(errors[0]) and not errors[0].transient


def test_a_command_that_ends_leaves_nothing_behind(tmp_path: Path) -> None:
    process.run(python(LEAVING), cwd=tmp_path)
    until(lambda: all_gone(family(tmp_path)))


def test_a_command_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="stopped after") as caught:
        process.run(python("import time; time.sleep(300)"), cwd=tmp_path, hours=1 / 3600)
    assert not caught.value.transient


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_caller_that_dies(number: signal.Signals, tmp_path: Path) -> None:
    code = f"""
from prefect.logging import disable_run_logger
from pathlib import Path
from flows import process
process.GRACE = 2.0
with disable_run_logger():
    process.run({python(STUBBORN)!r}, cwd=Path({str(tmp_path)!r}))
"""
    caller = subprocess.Popen(python(code), cwd=ROOT, stderr=subprocess.DEVNULL)
    members = family(tmp_path)
    guards = [guard.pid for guard in psutil.Process(caller.pid).children()]
    os.kill(caller.pid, number)
    caller.wait(30)
    until(lambda: all_gone([*members, *guards]))


def test_flows_start_without_what_the_stages_need() -> None:
    heavy = "{'torch', 'open_clip', 'pandas', 'mlflow', 'great_expectations', 'dvc', 'faiss', 'cv2', 'matplotlib'}"
    names = "flows.train, flows.ingest, flows.retrain, flows.promote, flows.automations, flows.pools, flows.services"
    done = subprocess.run(
        python(f"import sys, {names}; print({heavy} & set(sys.modules))"), cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == "set()\n", done.stdout + done.stderr


def test_the_services_start_without_prefect() -> None:
    done = subprocess.run(
        python("import sys, flows.services; print('prefect' in sys.modules)"), cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stdout + done.stderr
