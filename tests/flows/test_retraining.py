"""From a camera's images to a new model: the real pipeline on tiny data, with server, worker and MLflow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from station import Station, open_station, until

from clone import Project, crops, make_clone
from flows.train import CACHED
from itkm.data.shards import write_scenario
from itkm.registry.store import FILES, LOCK, open_registry
from tiny import make_crop, scenario_rows

pytestmark = pytest.mark.slow
VIEW = {"camera": "c3", "scenario": "vi", "group": "night"}


def make_project(folder: Path) -> Project:
    """A project of one scenario, committed; nothing has run yet, and a new champion must gain more than it can."""
    project = make_clone(folder)
    project.set(scenarios=["vi"], registry={"margin": 0.99})
    write_scenario(rows(), folder / "data" / "vi")
    git(folder, "config", "user.name", "Tester")
    git(folder, "config", "user.email", "tester@localhost")
    project.run("dvc", "add", "--quiet", "data", "models")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "project")
    return project


def rows() -> Iterator[tuple[dict[str, object], bytes]]:
    """Four persons to train on and four to search for, in two cameras by day and one by night."""
    yield from scenario_rows("vi", persons=4, images=4)
    for number, (row, _) in enumerate(scenario_rows("vi", persons=4, images=1)):
        person = int(str(row["person"])) + 10
        split = "query" if row["group"] == "night" else "gallery"
        yield row | {"source": f"test/{row['source']}", "split": split, "person": person}, make_crop(person, number)


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def drop(folder: Path, count: int, first: int = 21) -> Path:
    """New images of camera c3."""
    list(crops(folder, range(first, first + count), range(3, 4), 4, "{person}-{camera}-{number}.jpg"))
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def station(project: Project) -> Iterator[Station]:
    with open_station(project.folder, OMP_NUM_THREADS="1") as station:
        yield station


def test_a_scheduled_run_trains_registers_and_promotes(station: Station, project: Project) -> None:
    schedule = station.schedule("retrain/nightly", 60)
    until(lambda: station.runs("retrain/nightly"))
    station.ask("DELETE", schedule)
    run = station.runs("retrain/nightly")[0]
    assert run["auto_scheduled"]
    assert station.ended(run["id"]) == "Promoted", station.log(run["id"])
    stages = set(project.run("dvc", "stage", "list", "--name-only").splitlines())
    tasks = station.tasks(run["id"])
    assert {tasks[stage] for stage in stages} == {"Completed"}
    shown = station.artifacts(run["id"])
    assert "| vi | Stage III |" in shown["results"]
    assert "was promoted" in shown["promotion"]
    branch = git(project.folder, "branch", "--list", "retrain/*", "--format=%(refname:short)")
    assert branch == f"retrain/{run['id']}"
    assert "dvc.lock" in git(project.folder, "diff", "--name-only", "HEAD", branch)
    assert git(project.folder, "status", "--porcelain", "--untracked-files=no") == ""
    assert not (project.folder / "artifacts").exists()


def test_without_anything_new_the_registry_is_left_alone(station: Station, project: Project) -> None:
    git(project.folder, "merge", "--quiet", git(project.folder, "branch", "--list", "retrain/*", "--format=%(refname)"))
    run = station.start("retrain/nightly")
    assert station.ended(run) == CACHED
    stages = project.run("dvc", "stage", "list", "--name-only").splitlines()
    tasks = station.tasks(run)
    assert {tasks[stage] for stage in stages} == {CACHED}
    assert "register" not in " ".join(tasks)


def test_a_refused_feed_is_a_rejected_run_and_changes_nothing(
    station: Station, project: Project, tmp_path: Path
) -> None:
    before = git(project.folder, "rev-parse", "HEAD")
    run = station.start("ingest_feed/feed", feed=str(drop(tmp_path / "few", 1)), **VIEW)
    assert station.ended(run) == "Rejected", station.log(run)
    assert "refused" in station.artifacts(run)["feed"]
    assert git(project.folder, "rev-parse", "HEAD") == before


def test_an_accepted_feed_is_trained_on_by_itself_and_refused_by_the_rules(
    station: Station, project: Project, tmp_path: Path
) -> None:
    before = {run["id"] for run in station.runs("retrain/nightly")}
    run = station.start("ingest_feed/feed", feed=str(drop(tmp_path / "drop", 6)), **VIEW)
    assert station.ended(run) == "Accepted", station.log(run)
    assert "data.dvc" in git(project.folder, "show", "--name-only", "HEAD")
    until(lambda: {run["id"] for run in station.runs("retrain/nightly")} - before)
    (retrained,) = {run["id"] for run in station.runs("retrain/nightly")} - before
    assert station.ended(retrained) == "Refused", station.log(retrained)
    tasks = station.tasks(retrained)
    assert tasks["prepare@vi"] == tasks["homogeneous"] == "Completed"
    assert "expected at least +0.99" in station.artifacts(retrained)["promotion"]


def test_a_retraining_whose_worker_is_killed_goes_on_when_another_is_started(
    station: Station, project: Project
) -> None:
    change(project, seed=100)
    run = station.start("retrain/nightly")
    until(lambda: station.tasks(run).get("homogeneous") == "Running", 600)
    station.kill("worker")
    station.services("up")
    assert_retried(station, run)


def test_two_retrainings_at_once_of_which_one_is_killed_and_a_feed_register_no_model_twice(
    station: Station, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by the worker and one by hand, as runs of a deployment wait for their turn; the feed starts a third one."""
    change(project, seed=200)
    run = station.start("retrain/nightly")
    known = {each["id"] for each in station.runs("retrain/nightly")} | {run}
    servers = {"PREFECT_API_URL": station.api, "MLFLOW_TRACKING_URI": station.mlflow}
    command = [sys.executable, "-m", "flows.retrain"]
    with subprocess.Popen(command, cwd=project.folder, env={**station.environment, **servers}) as by_hand:
        until(lambda: station.tasks(run).get("homogeneous") == "Running", 600)
        (engine,) = station.find("prefect.engine")
        os.kill(engine, signal.SIGKILL)
        feed = station.start("ingest_feed/feed", feed=str(drop(tmp_path / "drop", 6, first=41)), **VIEW)
        assert_retried(station, run)
        assert station.ended(feed) == "Accepted", station.log(feed)
        until(lambda: {each["id"] for each in station.runs("retrain/nightly")} - known)
        (third,) = {each["id"] for each in station.runs("retrain/nightly")} - known
        assert station.ended(third) == "Refused", station.log(third)
    assert by_hand.returncode == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", station.mlflow)
    with open_registry(project.folder) as registry:
        models = [(version.tags[FILES], version.tags[LOCK]) for version in registry.versions()]
    assert len(models) == len(set(models))


def change(project: Project, *, seed: int) -> None:
    """Something new to train, committed."""
    project.set(seed=seed)
    git(project.folder, "commit", "--quiet", "--all", "--message", f"seed {seed}")


def assert_retried(station: Station, run: str) -> None:
    """A crashed run is started again, once, and gets to its decision; or finds that another run has got there."""
    until(lambda: "AwaitingRetry" in station.states(run))
    until(lambda: station.state(run)["type"] not in ("CRASHED", "SCHEDULED"))
    assert station.ended(run) in (CACHED, "Refused"), station.log(run)
    states = station.states(run)
    assert (states.count("AwaitingRetry"), states.count("Running")) == (1, 2), states
