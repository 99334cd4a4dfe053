"""A real `mlflow server`: a trained project registers, promotes and embeds through it, and survives kill -9."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from registered import add_model

from clone import Project, make_clone
from itkm.data.shards import write_scenario
from itkm.registry.fetch import fetch
from itkm.registry.store import CHALLENGER, CHAMPION, PREVIOUS, open_registry
from itkm.tracking import ENVIRONMENT
from tiny import scenario_rows

pytestmark = pytest.mark.slow

KILLS = 20


@dataclass
class Server:
    """MLflow on sqlite, which keeps the files of runs itself."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when it answers."""
        database, files = f"sqlite:///{self.folder / 'mlflow.db'}", str(self.folder / "files")
        command = ["-m", "mlflow", "server", "--backend-store-uri", database, "--artifacts-destination", files]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        with (self.folder / "log.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command], stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **ENVIRONMENT}, cwd=self.folder,
            )  # fmt: skip
        end = time.monotonic() + 300
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.address}/health", timeout=5).close()
                return
            assert self.process.poll() is None and time.monotonic() < end, (self.folder / "log.txt").read_text()
            time.sleep(0.2)

    def kill(self) -> None:
        """kill -9 of the server and its workers."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server", port)
    server.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    yield server
    server.kill()


def model(folder: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    """An `itkm model` command in a process of its own; its JSON."""
    command = [sys.executable, "-m", "itkm", "model", *arguments, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout) if done.stdout else {"said": done.stderr}
    return found


def test_from_training_to_a_search_by_the_champion(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    project: Project = make_clone(tmp_path / "project")
    rows = [(row | {"split": part}, content) for row, content, part in _split()]
    write_scenario(rows, project.folder / "data" / "mine")
    project.set(scenarios=["mine"])
    project.run("dvc", "add", "--quiet", "data", "models")
    with monkeypatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI")  # trained before there was a server
        project.repro()
    first = model(project.folder, "register")
    assert (first["version"], first["aliases"], first["created"]) == ("1", ["challenger"], True)
    assert not model(project.folder, "register")["created"]
    assert model(project.folder, "promote")["champion"] == "1"
    with open_registry(project.folder) as registry:
        run = registry.client.get_run(first["run_id"])
        files = {file.path for file in registry.client.list_artifacts(first["run_id"])}
        names = {Path(file.path).name for file in registry.client.list_artifacts(first["run_id"], "model")}
    assert files == {"metrics.json", "model", "report.html"}
    assert names == {"config.json", "model.safetensors", "texts.safetensors"}
    assert run.data.metrics["mine/heterogeneous/mAP"] == pytest.approx(first["scenarios"]["mine"])
    for file in (server.folder / "files").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert b"data:image" not in content and b"\xff\xd8\xff\xe0" not in content
    where = ("--model", "models:/itkm@champion")
    project.run("itkm", "embed", "data/mine", *where, "--split", "gallery", "--out", "gallery.npz")
    said = project.run("itkm", "search", *where, "--gallery", "gallery.npz", "--text", "a person")
    assert "rank" in said and "similarities may mean nothing" not in said
    project.set(seed=4)
    project.repro()
    second = model(project.folder, "register")
    assert second["version"] == "2" and second["run_id"] != first["run_id"]
    compared = model(project.folder, "compare")
    decided = model(project.folder, "promote", code=0 if compared["outcome"] == "promote" else 4)
    assert decided["outcome"] == compared["outcome"] and decided["reasons"]


def _split() -> Iterator[tuple[dict[str, object], bytes, str]]:
    """Persons 1 to 8 to train on, 9 to 12 to search for."""
    for row, content in scenario_rows("mine", persons=12):
        test = "query" if row["group"] == "night" else "gallery"
        yield row, content, "train" if int(str(row["person"])) <= 8 else test


def test_kill_9_of_promote_and_of_the_server_leaves_one_valid_champion(server: Server, tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    (root / "params.yaml").write_text("scenarios: [vi]\n")
    with open_registry(root) as registry:
        add_model(registry, root, 0.01)
    began = time.monotonic()
    assert model(root, "promote", "--version", "1")["champion"] == "1"
    lasts = time.monotonic() - began
    draw = random.Random(7)
    for number in range(2, KILLS + 2):
        with open_registry(root) as registry:
            add_model(registry, root, number / 100)
            registry.point(CHALLENGER, str(number))
        command = [sys.executable, "-m", "itkm", "model", "promote", "--version", str(number), "--json"]
        process = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.5, 1.0) * lasts)  # what is before is the start of Python
        if number % 4 == 0:
            server.kill()
            server.start()
        process.kill()
        process.wait()
        shutil.rmtree(root / ".itkm", ignore_errors=True)  # so that the champion is loaded from the server
        with open_registry(root) as registry:
            assert registry.aliases()[CHAMPION] in (str(number - 1), str(number))
        fetch(f"models:/itkm@{CHAMPION}", root=root)
        found = model(root, "promote", "--version", str(number))
        assert (found["champion"], found["previous"]) == (str(number), str(number - 1))
        with open_registry(root) as registry:
            assert registry.aliases() == {CHAMPION: str(number), PREVIOUS: str(number - 1)}


def test_without_its_server_a_command_says_so_and_later_succeeds(server: Server, tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    (root / "params.yaml").write_text("scenarios: [vi]\n")
    with open_registry(root) as registry:
        add_model(registry, root, 0.5)
    server.kill()
    assert "no server answers" in model(root, "promote", "--version", "1", code=1)["said"]
    server.start()
    assert model(root, "promote", "--version", "1")["champion"] == "1"
