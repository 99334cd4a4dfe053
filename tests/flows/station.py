"""A project with real services of its own: server, MLflow and worker on free ports, driven over Prefect's API."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from flows.services import FOLDER

ROOT = Path(__file__).parents[2]
PATIENCE = 300.0  # seconds for an answer: a machine that is busy with other tests may stand still for a minute
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


@dataclass(frozen=True)
class Station:
    """A project's folder and the variables of its processes."""

    folder: Path
    environment: dict[str, str]

    @property
    def api(self) -> str:
        """The address of the server's API."""
        return f"http://127.0.0.1:{self.environment['ITKM_PREFECT_PORT']}/api"

    @property
    def mlflow(self) -> str:
        """The address of MLflow."""
        return f"http://127.0.0.1:{self.environment['ITKM_MLFLOW_PORT']}"

    def services(self, command: str, code: int = 0) -> str:
        """`python -m flows.services`."""
        done = subprocess.run(
            [sys.executable, "-m", "flows.services", command],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def ask(self, method: str, path: str, content: object = None) -> Any:
        """A request to the API, again while its data base is locked, as Prefect's own clients do."""
        answer = httpx.request(method, f"{self.api}/{path}", json=content, timeout=PATIENCE)
        while answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            time.sleep(1)
            answer = httpx.request(method, f"{self.api}/{path}", json=content, timeout=PATIENCE)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def deployment(self, name: str) -> str:
        """The number of a deployment, named `flow/deployment`."""
        return str(self.ask("GET", f"deployments/name/{name}")["id"])

    def start(self, name: str, **parameters: object) -> str:
        """Asks for a run of a deployment, and returns its number."""
        return self.begun(name, {"type": "SCHEDULED"}, parameters)

    def begun(self, name: str, state: dict[str, str], parameters: dict[str, object] | None = None) -> str:
        """Makes a run of a deployment in a state, and returns its number; no worker takes one that is not SCHEDULED."""
        path = f"deployments/{self.deployment(name)}/create_flow_run"
        return str(self.ask("POST", path, {"parameters": parameters or {}, "state": state})["id"])

    def schedule(self, name: str, seconds: int) -> str:
        """Has a deployment run every so many seconds; returns the path of the schedule."""
        schedule = {"interval": seconds, "anchor_date": datetime.datetime.now(datetime.UTC).isoformat()}
        path = f"deployments/{self.deployment(name)}/schedules"
        (made,) = self.ask("POST", path, [{"schedule": schedule, "active": True}])
        return f"{path}/{made['id']}"

    def runs(self, name: str) -> list[dict[str, Any]]:
        """The runs of a deployment that are not in the future, oldest first."""
        chosen = {"deployments": {"id": {"any_": [self.deployment(name)]}}, "sort": "START_TIME_ASC"}
        found: list[dict[str, Any]] = self.ask("POST", "flow_runs/filter", chosen)
        return [run for run in found if run["state_name"] != "Scheduled"]

    def tasks(self, run: str) -> dict[str, str]:
        """The state of each task of a run and of the runs below it, by its name."""
        chosen = {"flow_runs": {"id": {"any_": [run, *self.below(run)]}}}
        return {task["name"]: task["state_name"] for task in self.ask("POST", "task_runs/filter", chosen)}

    def below(self, run: str) -> list[str]:
        """The runs that a run started."""
        chosen = {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}}
        return [str(each["id"]) for each in self.ask("POST", "flow_runs/filter", chosen)]

    def artifacts(self, run: str) -> dict[str, str]:
        """The text of each artifact of a run and of the runs below it, by its key."""
        chosen = {"flow_runs": {"id": {"any_": [run, *self.below(run)]}}}
        return {each["key"]: each["data"] for each in self.ask("POST", "artifacts/filter", chosen)}

    def log(self, run: str) -> str:
        """What a run has logged so far."""
        chosen = {"logs": {"flow_run_id": {"any_": [run, *self.below(run)]}}, "sort": "TIMESTAMP_ASC"}
        return "\n".join(line["message"] for line in self.ask("POST", "logs/filter", chosen))

    def state(self, run: str) -> dict[str, Any]:
        """The state of a run."""
        state: dict[str, Any] = self.ask("GET", f"flow_runs/{run}")["state"]
        return state

    def ended(self, run: str, seconds: float = 900) -> str:
        """Waits for the end of a run and returns the name of its state."""
        try:
            until(lambda: self.state(run)["type"] in ENDED, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.state(run)}\n{self.log(run)}\n{self.processes()}") from None
        return str(self.state(run)["name"])

    def states(self, run: str) -> list[str]:
        """The names of all states that a run has been in, in order."""
        found = self.ask("GET", f"flow_run_states/?flow_run_id={run}")
        return [state["name"] for state in sorted(found, key=lambda state: state["timestamp"])]

    def find(self, *words: str) -> list[int]:
        """The processes whose command has these words."""
        return [pid for pid, command in self.processes().items() if all(word in command for word in words)]

    def kill(self, service: str) -> None:
        """Kills a service's own process, and nothing that it started."""
        note = json.loads((self.folder / FOLDER / f"{service}.json").read_text())
        os.kill(note["pid"], signal.SIGKILL)

    def processes(self) -> dict[int, list[str]]:
        """The commands of all processes that work for this project, by their numbers."""
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("ITKM_STATION") == str(self.folder) and process.status() != "zombie":
                    found[process.pid] = process.cmdline()
        return found


def until(true: Callable[[], object], seconds: float = 300) -> None:
    """Waits for something to become true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)


@contextlib.contextmanager
def open_station(folder: Path, **environment: str) -> Iterator[Station]:
    """Starts the services of a project and registers its deployments; in the end nothing of it runs any more."""
    for name in ("flows", "prefect.yaml"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / name)
    ports = {f"ITKM_{name}_PORT": str(free_port()) for name in ("PREFECT", "MLFLOW", "WORKER")}
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_T"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    station = Station(folder, {**own, **ports, **environment, "PATH": path, "ITKM_STATION": str(folder)})
    try:
        station.services("up")
        station.services("deploy")
        yield station
    finally:
        station.services("down")
        for process in station.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
