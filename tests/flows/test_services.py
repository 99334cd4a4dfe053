"""What `make up` and `make down` find, before anything is started; test_live.py starts the services."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows import services
from itkm.errors import InputError, ItkmError
from itkm.files import write_json

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which no service runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sleeper() -> Iterator[psutil.Popen]:
    process = psutil.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    yield process
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def note(process: psutil.Process, *, started: float) -> services.Service:
    """Writes down a process as that of the first service."""
    service = services.services()[0]
    write_json(services.FOLDER / f"{service.name}.json", {"pid": process.pid, "started": started})
    return service


def test_a_service_is_known_by_number_and_time_of_start(sleeper: psutil.Popen) -> None:
    assert services.find(services.services()[0]) is None
    assert services.find(note(sleeper, started=sleeper.create_time())) == sleeper
    assert services.find(note(sleeper, started=sleeper.create_time() - 1)) is None  # its number was given anew
    service = note(sleeper, started=sleeper.create_time())
    sleeper.kill()
    sleeper.wait()
    assert services.find(service) is None


def test_a_broken_note_is_as_none() -> None:
    services.FOLDER.mkdir(parents=True)
    (services.FOLDER / "prefect.json").write_text("{")
    assert services.find(services.services()[0]) is None


def test_a_port_that_is_taken_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("ITKM_PREFECT_PORT", str(taken.getsockname()[1]))
        with pytest.raises(InputError, match=r"port \d+ is taken by another process.*ITKM_PREFECT_PORT=N"):
            services.up()


@pytest.mark.parametrize("port", ["abc", "0", "99999", "-1"])
def test_what_is_no_port_is_refused(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ITKM_MLFLOW_PORT", port)
    with pytest.raises(InputError, match=r"ITKM_MLFLOW_PORT: .* is no port"):
        services.services()


def test_what_does_not_run_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ItkmError, match="make up"):
        services.status()
    assert capsys.readouterr().out.count("does not answer") == 3
    services.down()  # nothing to do is no failure


def test_a_service_that_nobody_takes_away_has_ended() -> None:
    careless = "import subprocess, time; print(subprocess.Popen(['sleep', '300']).pid, flush=True); time.sleep(300)"
    with subprocess.Popen([sys.executable, "-c", careless], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        note(child, started=child.create_time())
        begin = time.monotonic()
        services.down()
        assert child.status() == psutil.STATUS_ZOMBIE
        assert time.monotonic() - begin < services.GRACE
        parent.kill()


def test_services_listen_on_this_machine_alone() -> None:
    for service in services.services()[:2]:
        command = list(service.command)
        assert command[command.index("--host") + 1] == "127.0.0.1"
    assert services.environment()["PREFECT_WORKER_WEBSERVER_HOST"] == "127.0.0.1"


def test_a_server_that_is_not_there_is_told_without_a_traceback(project: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/api"
    done = subprocess.run(
        [sys.executable, "-m", "flows.train"],
        cwd=project,
        env={**os.environ, "PREFECT_API_URL": address, "PREFECT_HOME": str(project), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert f"no Prefect server answers at {address}" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_command_says_of_its_input_is_told_without_a_traceback(project: Path) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-m", "flows.promote"],
        cwd=project,
        env={**own, "PREFECT_HOME": str(project / "home"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "itkm: params.yaml: not found" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("typed", "code"), [("--help", 0), ("--version=7", 2)])
@pytest.mark.parametrize("flow", ["promote", "retrain", "train"])
def test_what_is_typed_behind_a_flow_that_takes_nothing_starts_nothing(flow: str, typed: str, code: int) -> None:
    script = f"import runpy, sys; sys.argv[1:] = [{typed!r}]; runpy.run_module('flows.{flow}', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(f"usage: python -m flows.{flow}, without arguments")
    assert "flow run" not in done.stderr
