"""A registry of its own for each test, on sqlite."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from registered import empty_database

from itkm.registry.store import Registry, open_registry

pytest.importorskip("mlflow")


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return empty_database(tmp_path_factory.mktemp("database"))


@pytest.fixture
def root(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with an MLflow in which nothing is registered."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(database, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def registry(root: Path) -> Iterator[Registry]:
    with open_registry(root) as registry:
        yield registry
