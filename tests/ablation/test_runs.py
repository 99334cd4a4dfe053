"""What happens around the trainings, without any."""

from __future__ import annotations

import fcntl
import logging
import subprocess
import threading
from pathlib import Path

import pytest
from made_up_runs import make_finding

from itkm.ablation import runs
from itkm.ablation.findings import Failure, Finding
from itkm.ablation.runs import execute_runs
from itkm.ablation.variants import Run
from itkm.ablation.workspace import HOME, Workspace, _reason, open_workspace
from itkm.cli import main
from itkm.errors import ItkmError

PLAN = [Run("full", 1, "", {}), Run("no-chm", 1, "", {}), Run("no-ihm", 1, "", {})]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Runs end at once; `no-chm` fails."""

    def execute(self: Workspace, run: Run) -> int:
        if run.variant == "no-chm":
            raise ItkmError("no group has two clusters")
        return 3

    monkeypatch.setattr(Workspace, "execute", execute)
    monkeypatch.setattr(Workspace, "key", lambda self, run: "key")
    monkeypatch.setattr(runs, "collect", lambda run, layout, **effort: make_finding(run.variant, run.seed, gain=0.1))
    return Workspace(tmp_path, lock=-1)


def test_a_failing_run_does_not_stop_the_others(workspace: Workspace) -> None:
    outcomes = execute_runs(PLAN, workspace)
    assert [type(own) for own in outcomes] == [Finding, Failure, Finding]
    assert isinstance(outcomes[1], Failure)
    assert outcomes[1].reason == "no group has two clusters"


def test_finished_runs_are_found_again_and_failed_ones_tried_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    execute_runs(PLAN, workspace)
    tried: list[str] = []
    monkeypatch.setattr(Workspace, "execute", lambda self, run: tried.append(run.variant) or 1)
    with caplog.at_level(logging.INFO):
        outcomes = execute_runs(PLAN, workspace)
    assert tried == ["no-chm"]
    assert [type(own) for own in outcomes] == [Finding] * 3
    assert "[1/3] full, seed 1: finished before" in caplog.messages
    assert any(line.startswith("[2/3] no-chm, seed 1: finished, computed stages: 1") for line in caplog.messages)


def test_a_finding_is_of_the_code_that_the_stages_name(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, lock=-1)
    copy = workspace.layout.root
    files = ["itkm/losses/nce.py", "itkm/cli/score.py", "itkm/ablation/findings.py", "data.dvc"]
    for name in files:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("old")
    (copy / "dvc.yaml").write_text("stages: {train: {deps: [data, itkm/losses]}, note: {cmd: date}}")
    subprocess.run(["git", "init", "--quiet"], cwd=copy, check=True)

    def key(params: dict[str, object]) -> str:
        subprocess.run(["git", "add", "--all"], cwd=copy, check=True)
        return workspace.key(Run("full", 1, "", params))

    before = key({})
    assert key({"seed": 2}) != before
    changed = []
    for name in files:
        (copy / name).write_text("new")
        if key({}) != before:
            changed.append(name)
        (copy / name).write_text("old")
    assert changed == [name for name in files if name != "itkm/cli/score.py"]


def test_the_reason_is_the_stages_own_message() -> None:
    said = "Running stage 'x':\nitkm: no data.\nERROR: failed to reproduce 'x': exited with 2\nlast"
    assert _reason(said) == "no data."
    assert _reason(said.replace("itkm: ", "")) == "failed to reproduce 'x': exited with 2"
    assert _reason("") == "no output"


def test_a_second_ablation_waits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / HOME).mkdir(parents=True)
    entered = threading.Event()

    def second() -> None:
        with open_workspace(tmp_path):
            entered.set()

    with (tmp_path / HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = threading.Thread(target=second)
        waiting.start()
        assert not entered.wait(0.3)
    waiting.join(10)
    assert entered.is_set()
    assert "waiting for it" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--variants", "no-cmh"], "'no-cmh' is no variant. Did you mean 'no-chm'? Choose from full, single-scenario"),
        (["--seeds", "1,x"], "expected whole numbers such as 1,2,3"),
        (["--split", "train"], "'train' is not one of"),
        ([], "An ablation needs the project under git"),
    ],
)
def test_bad_input_is_one_message_and_exit_2(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "params.yaml").write_text("scenarios: [mine]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert main(["ablate", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
