"""`itkm ablate` as users type it: trainings through DVC in a private copy of a tiny project."""

from __future__ import annotations

import csv
import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from clone import Project, crops, make_clone

pytestmark = pytest.mark.slow

OF_THE_DATA = ["prepare@mine", "validate@mine"]
OF_A_SEED = ["homogeneous", "extract@mine", "cluster@mine", "prompts"]
OF_A_VARIANT = ["heterogeneous", "evaluate"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project under git with one scenario: eight persons to train on, six to validate."""
    clone = make_clone(tmp_path_factory.mktemp("project"))
    source = tmp_path_factory.mktemp("source")
    with (source / "list.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, ["path", "group", "camera", "split", "person"])
        table.writeheader()
        for split, persons, images in (("train", range(1, 9), 4), ("validation", range(11, 17), 1)):
            for file, shown in crops(source, persons, range(1, 4), images, split + "/{person}-{camera}-{number}.jpg"):
                place = {"path": file.relative_to(source).as_posix(), "camera": f"c{shown['camera']}"}
                group = "night" if shown["camera"] == 3 else "day"
                table.writerow({**place, "group": group, "split": split, "person": shown["person"]})
    where = ("--scenario", "mine", "--out", "data/mine")
    clone.run("itkm", "data", "import", "manifest", str(source / "list.csv"), *where)
    clone.run("dvc", "add", "--quiet", "data", "models")
    clone.set(scenarios=["mine"])
    git(clone, "add", "--all")
    git(clone, "-c", "user.name=me", "-c", "user.email=me@localhost", "commit", "-q", "-m", "mine")
    return clone


@pytest.fixture(scope="module")
def said(project: Project) -> str:
    """What the first ablation printed."""
    return project.run("itkm", "ablate", "--variants", "no-chm", "--seeds", "1,2")


def git(project: Project, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=project.folder, capture_output=True, text=True, check=True)
    return done.stdout


def computed(project: Project, run: str) -> list[str]:
    log = project.folder / ".itkm" / "ablation" / "logs" / f"{run}.log"
    return re.findall(r"Running stage '(.+)'", log.read_text(encoding="utf-8"))


def test_stages_that_variants_share_are_computed_once(project: Project, said: str) -> None:
    for seed, first in (("1", OF_THE_DATA), ("2", [])):
        assert sorted(computed(project, f"full-seed{seed}")) == sorted([*first, *OF_A_SEED, *OF_A_VARIANT])
        assert sorted(computed(project, f"no-chm-seed{seed}")) == sorted(OF_A_VARIANT)
    assert "[2/4] no-chm, seed 1: finished, computed stages: 2" in said


def test_tables_and_page_are_there(project: Project, said: str) -> None:
    folder = project.folder / "reports" / "ablation"
    assert "reports/ablation/ablation.html" in said
    assert "Validation identities" in (folder / "ablation.html").read_text(encoding="utf-8")
    results = pd.read_csv(folder / "results.csv")
    assert len(results) == 2 * 2 * 4  # variants, seeds, models
    assert set(results["status"]) == {"finished"}
    assert results["mAP"].between(0, 1).all()
    differences = pd.read_csv(folder / "differences.csv")
    final = differences[(differences["variant"] == "no-chm") & (differences["stage"] == "heterogeneous")]
    assert final["scenario"].tolist() == ["mine", "average"]
    assert (final["low"] <= final["difference"]).all() and (final["difference"] <= final["high"]).all()
    assert final["identities"].tolist() == [6, 6]
    epochs = pd.read_csv(folder / "epochs.csv")
    assert set(epochs["stage"]) == {"homogeneous", "heterogeneous"}
    assert epochs["epoch"].max() == 2  # one was trained, and the last labels
    assert epochs["purity"].between(0, 1).all()
    assert epochs[epochs["stage"] == "heterogeneous"]["match_recall"].notna().any()


def test_the_precision_of_the_queries_is_that_of_the_scores(project: Project, said: str) -> None:
    results = pd.read_csv(project.folder / "reports" / "ablation" / "results.csv").set_index(
        ["variant", "seed", "stage"]
    )
    (folder,) = (project.folder / ".itkm" / "ablation" / "findings").glob("no-chm-seed2-*")
    queries = pd.read_parquet(folder / "queries.parquet")
    for stage in ("zero_shot", "homogeneous", "heterogeneous"):
        assert queries[stage].mean() == pytest.approx(results.loc["no-chm", 2, stage]["mAP"])


def test_the_users_project_stays_as_it_is(project: Project, said: str) -> None:
    assert git(project, "status", "--porcelain") == ""
    assert len(git(project, "for-each-ref").splitlines()) == 1
    assert not (project.folder / "artifacts").exists()
    assert not (project.folder / "dvc.lock").exists()


def test_what_is_finished_is_not_run_again(project: Project, said: str) -> None:
    again = project.run("itkm", "ablate", "--variants", "no-chm", "--seeds", "2,1")
    assert again.count(": finished before") == 4
    assert "begins" not in again


def test_a_terminated_ablation_takes_its_training_along_and_goes_on(project: Project, said: str) -> None:
    child = in_training(project, "no-ihm")
    child.terminate()
    assert child.wait() == 128 + signal.SIGTERM
    with (project.folder / ".itkm" / "ablation" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held until the last process that it started has ended
    goes_on(project, "no-ihm")


def test_a_killed_ablation_goes_on(project: Project, said: str) -> None:
    """The process that it started is waited for, or its work found."""
    child = in_training(project, "no-text")
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    goes_on(project, "no-text")


def in_training(project: Project, variant: str) -> subprocess.Popen[bytes]:
    """An ablation in the middle of a training, in a process group of its own."""
    command = [sys.executable, "-m", "itkm", "ablate", "--variants", variant, "--seeds", "1"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    child = subprocess.Popen(command, cwd=project.folder, env=project.environment(), start_new_session=True, **quiet)
    log = project.folder / ".itkm" / "ablation" / "logs" / f"{variant}-seed1.log"
    while not (log.exists() and "Running stage 'heterogeneous'" in log.read_text(encoding="utf-8")):
        assert child.poll() is None
        time.sleep(0.2)
    return child


def goes_on(project: Project, variant: str) -> None:
    again = project.run("itkm", "ablate", "--variants", variant, "--seeds", "1")
    assert "[1/2] full, seed 1: finished before" in again
    assert f"[2/2] {variant}, seed 1: finished" in again
    assert "full,1,mine" in (Path(project.folder) / "reports" / "ablation" / "results.csv").read_text()


def test_changed_data_must_be_added_first(project: Project, said: str) -> None:
    shard = next((project.folder / "data" / "mine").rglob("*.tar"))
    content = shard.read_bytes()
    shard.unlink()  # DVC may have linked it to its cache
    shard.write_bytes(content + bytes(1024))
    try:
        told = project.run("itkm", "ablate", "--variants", "full", "--seeds", "1", code=2)
    finally:
        shard.write_bytes(content)
    assert "data.dvc: changed since DVC saw them. Run `dvc add data` first." in told
