"""What tests of flows share: a Prefect server of their own, and a small project."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from toyflow import Toy, make_toy

sys.path.insert(0, str(Path(__file__).parents[2]))  # the package `flows`, which is not installed


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A server with a data base of its own, for flows that run in this process."""
    import flows  # noqa: F401 - sets what prefect reads when it is imported

    os.environ["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect"))
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=600):
        yield


@pytest.fixture(scope="session")
def toy_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small project, made once."""
    folder = tmp_path_factory.mktemp("template")
    make_toy(folder)
    return folder


@pytest.fixture
def toy(toy_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """A project of trivial stages."""
    project = Toy(tmp_path / "toy")
    shutil.copytree(toy_template, project.base)
    monkeypatch.setenv("TOY", str(project.outside))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    return project
