"""One uninterrupted run of all training stages, built once and shared by all processes of a test run."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import pytest

from itkm.stages.layout import Layout
from toy import make_project, run_training


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Layout:
    """A project whose three training stages ran without interruption; read it only."""
    base = tmp_path_factory.getbasetemp()
    root = (base if worker_id == "master" else base.parent) / "trained"
    with (root.parent / "trained.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "finished").exists():
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            run_training(make_project(root))
            (root / "finished").touch()
    return Layout(root)


@pytest.fixture
def project(trained: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A copy of the trained project, and the current folder."""
    root = tmp_path / "project"
    shutil.copytree(trained.root, root)
    monkeypatch.chdir(root)
    return Layout(root)
