"""Every command of the README runs as it stands there, in a clone with tiny data and settings; links lead somewhere.

A new command is run without further ado. What cannot run in a test stands in `LEFT_OUT` with its reason, what would
never end in `SERVED`; a file that a command reads is made by `provide`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pytest

from clone import Project, crops, make_clone
from itkm.cli import cli
from itkm.data.shards import write_scenario
from itkm.errors import InputError
from tiny import make_crop, scenario_rows

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = ("dvc", "itkm", "make", "mlflow", "pip", "python")  # begin a command that stands in running text

LEFT_OUT = {
    "make demo": "trains for minutes: tests/test_pipeline.py runs the same stages on tiny data",
    "make test": "is what runs this",
    "make lint": "is about the code: .ci/run calls it",
    "make bench": "measures for minutes: its parts have tests of their own",
    "python benchmarks/feeds.py 50000": "measures for minutes",
    "python benchmarks/throughput.py": "measures for minutes",
    "pip install -e '.[pretrain]'": "needs a package index",
    "itkm pretrain": "trains for minutes: tests/pretrain/test_align.py does on few renderings",
    "itkm pretrain --check": "is about the shipped weights: tests/pretrain/test_gate.py asks them",
    "make up": "starts servers: tests/flows/test_services.py does",
    "make deploy": "needs them",
    "make down": "stops them",
    "itkm ablate --variants no-chm,no-ihm --seeds 1,2,3": "trains for minutes: tests/ablation runs it on tiny data",
    "itkm model rollback": "there is nothing before the first champion: tests/registry rolls back",
    "itkm ablate --split test --seeds 1,2,3,4,5": "trains for hours",
}
SERVED = {"mlflow ui --backend-store-uri sqlite:///mlflow.db": " --workers 1 --port "}
"""Commands that serve pages until they are stopped, and what makes them serve a port of ours."""
WARNS = {"itkm feed validate": (0, 3), "itkm model promote": (0, 4)}
"""Beginnings of commands whose exit code tells more: 3 = accepted with warnings, 4 = refused by the rules."""
RENDERED = "itkm data render"
FEW = dict.fromkeys(
    [f"{split}_{what}" for split in ("train", "validation", "test") for what in ("identities", "images")], 1
)


def commands_in(text: str) -> list[str]:
    """The commands of a page in its order: lines of bash blocks first, then those that stand in running text."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    running = re.findall(r"`([^`\n]+ [^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    named = [code for code in running if code.split()[0] in PROGRAMS]
    bare = (re.sub(r"(^|\s)#.*", "", line).strip() for line in [*lines, *named])
    return [line for line in dict.fromkeys(bare) if line]


COMMANDS = commands_in(README)
RUN = [line for line in COMMANDS if line not in LEFT_OUT]


@dataclass(frozen=True)
class Ran:
    """A command that was run: its exit code, all that it printed, and for a server its page."""

    code: int
    said: str


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A clone as users have it: data and weights under DVC, everything else in a commit."""
    clone = make_clone(tmp_path_factory.mktemp("readme"))
    clone.set(render=FEW)
    provide(clone.folder)
    clone.run("dvc", "add", "--quiet", "data", "models")
    for name, value in (("user.name", "Reader"), ("user.email", "reader@example.org")):
        subprocess.run(["git", "-C", str(clone.folder), "config", name, value], check=True)
    subprocess.run(["git", "-C", str(clone.folder), "add", "--all"], check=True)
    subprocess.run(["git", "-C", str(clone.folder), "commit", "--quiet", "--message", "clone"], check=True)
    return clone


def provide(folder: Path) -> None:
    """The files of a user that the README names."""
    write_scenario(scenario_rows("vi", images=1), folder / "data" / "vi")
    list(crops(folder / "crops", range(1, 9), range(1, 4), 4, "cam{camera}/{person}-{number}.jpg"))
    list(crops(folder / "drop", range(11, 17), range(4, 5), 4, "gate-3_20260302T0600{person}Z_{number}.jpg"))
    (folder / "person.jpg").write_bytes(make_crop(1, 1))
    for name, camera in (("query", 1), ("gallery", 2)):
        person = np.arange(1, 65) % 8 + 1
        features = np.random.default_rng(camera).normal(size=(64, 4)).astype(np.float32) + np.eye(8, 4)[person - 1] * 5
        np.savez(folder / f"{name}.npz", features=features, person=person, camera=np.full(64, camera))


@pytest.fixture(scope="module")
def ran(clone: Project) -> dict[str, Ran]:
    """All commands, one after the other."""
    return {line: serve(line, clone) if line in SERVED else run(line, clone) for line in RUN if can_run(line)}


def run(line: str, clone: Project) -> Ran:
    """Runs a line in a shell."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        cwd=clone.folder,
        env=clone.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    return Ran(done.returncode, done.stdout)


def serve(line: str, clone: Project) -> Ran:
    """Starts a server, asks it for its page, and stops it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = clone.folder / "served.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            ["bash", "-c", f"exec {line}{SERVED[line]}{port}"],
            cwd=clone.folder,
            env=clone.environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        return Ran(0, ask(f"http://127.0.0.1:{port}", server))
    except TimeoutError:
        return Ran(1, log.read_text(encoding="utf-8"))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)


def ask(address: str, server: subprocess.Popen[bytes], *, seconds: float = 180) -> str:
    """The page at an address, as soon as it answers.

    Raises:
        TimeoutError: it does not, or the server has ended.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(address) as answer:
            page: str = answer.read().decode()
            return page
        time.sleep(0.5)
    raise TimeoutError(address)


def can_run(line: str) -> bool:
    return not line.startswith(RENDERED) or why_not_rendered() is None


def why_not_rendered() -> str | None:
    """Why nothing can be drawn on this machine; None where it can."""
    try:
        from itkm.data.render import draw

        draw.programme()
    except (ImportError, InputError) as error:
        return str(error)
    return None


@pytest.mark.parametrize("line", RUN)
def test_command_runs(line: str, ran: dict[str, Ran]) -> None:
    if not can_run(line):
        pytest.skip(f"{line}: {why_not_rendered()}")
    codes = next((codes for begin, codes in WARNS.items() if line.startswith(begin)), (0,))
    assert ran[line].code in codes, ran[line].said


def test_what_is_treated_apart_stands_in_the_readme() -> None:
    assert {*LEFT_OUT, *SERVED} <= set(COMMANDS)


def test_commands_are_found_in_blocks_and_in_running_text() -> None:
    page = """
Type `itkm result` or `--debug` or `cluster`; `make demo` too.

```bash
# a comment
itkm embed a \\
  --out b   # goes on
make demo
```
```text
itkm shown
```
"""
    assert commands_in(page) == ["itkm embed a    --out b", "make demo", "itkm result"]


def test_own_data_are_trained_on(ran: dict[str, Ran], clone: Project) -> None:
    assert "Running stage 'heterogeneous'" in ran["dvc repro"].said
    assert set(clone.metrics()["scenarios"]) == {"mine"}


def test_an_experiment_runs_what_depends_on_it_and_its_difference_is_shown(ran: dict[str, Ran]) -> None:
    said = ran["dvc exp run -S heterogeneous.cluster_weight=0"].said
    assert re.findall(r"Running stage '(.+)'", said) == ["heterogeneous", "evaluate", "report"]
    assert "mine.matches.chm.pairs" in ran["dvc metrics diff"].said


def test_graph_and_plots_are_shown(ran: dict[str, Ran], clone: Project) -> None:
    assert all(stage in ran["dvc dag"].said for stage in ("prepare@mine", "homogeneous", "report"))
    assert "Stage I - loss" in (clone.folder / "dvc_plots" / "index.html").read_text(encoding="utf-8")


def test_mlflow_shows_its_page(ran: dict[str, Ran]) -> None:
    assert "<title>MLflow</title>" in ran["mlflow ui --backend-store-uri sqlite:///mlflow.db"].said


@pytest.mark.parametrize("line", [line for line in LEFT_OUT if line.startswith("itkm ")])
def test_a_command_that_is_left_out_parses(line: str) -> None:
    arguments = shlex.split(line)[1:]
    command: click.Command = cli
    context = click.Context(cli, info_name="itkm")
    while isinstance(command, click.Group):
        name, found, arguments = command.resolve_command(context, arguments)
        assert found is not None, line
        command, context = found, click.Context(found, parent=context, info_name=name)
    command.parse_args(context, list(arguments))


@pytest.mark.parametrize("line", [line for line in LEFT_OUT if line.startswith("make ")])
def test_a_target_that_is_left_out_exists(line: str) -> None:
    assert re.search(rf"^{line.split()[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_make_lists_its_targets(clone: Project) -> None:
    listed = run("make help", clone)
    assert listed.code == 0
    assert re.search(r"^demo +train on the embedded default", listed.said, re.MULTILINE)


@pytest.mark.parametrize("link", re.findall(r"!?\[[^\]]*\]\((?!https?:)([^)]+)\)", README))
def test_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_no_placeholder_is_left() -> None:
    assert not re.search(r"\b(RESULTS|GATE)_[A-Z]+", README)
