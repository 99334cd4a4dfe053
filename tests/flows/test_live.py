"""Flows on a real server with a real worker: started by its scheduler, cancelled, killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from station import ENDED, Station, open_station, until
from toyflow import STAGES, Toy, make_toy

from flows.automations import START
from flows.services import LOCK
from flows.train import CACHED

pytestmark = pytest.mark.slow

KILLS = 20
VICTIMS = {
    "server": ("server", "prefect"),
    "worker": ("worker", "prefect"),
    "flow": ("prefect.engine",),
    "dvc": ("repro",),
    "stage": ("step.py",),
}
"""The words in the commands of those that a killer looks for."""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return make_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def notices() -> Iterator[tuple[str, list[str]]]:
    """The address of a chat server, and the texts that were posted to it."""
    texts: list[str] = []

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            texts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Chat) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", texts
        server.shutdown()


@pytest.fixture(scope="module")
def station(toy: Toy, notices: tuple[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    site = str(tmp_path_factory.mktemp("site"))
    with open_station(toy.folder, TOY=str(toy.outside), DVC_SITE_CACHE_DIR=site, ITKM_NOTIFY_URL=notices[0]) as station:
        yield station


def held(toy: Toy, station: Station, text: str) -> tuple[str, int]:
    """A run whose first stage does not end, and the process of that stage; no run before it has one any more."""
    until(lambda: not station.find("prefect.engine"))
    (toy.outside / "pid-clean").unlink(missing_ok=True)
    (toy.outside / "hold-clean").touch()
    toy.change(text)
    run = station.start("train/here")
    until((toy.outside / "pid-clean").exists)
    until(lambda: (toy.outside / "pid-clean").read_text())
    return run, int((toy.outside / "pid-clean").read_text())


def release(toy: Toy) -> None:
    (toy.outside / "hold-clean").unlink()


def seen(station: Station, run: str, words: tuple[str, ...]) -> list[int]:
    """The first processes with these words that there are while a run goes on; none, if it ends without them."""
    while not (found := station.find(*words)) and station.state(run)["type"] not in ENDED:
        time.sleep(0.05)
    return found


def idle(station: Station) -> bool:
    """Whether no stage and no guard runs."""
    return not any(
        part == "repro" or part.endswith("guard.py") for command in station.processes().values() for part in command
    )


def test_a_container_is_told_the_owner_of_the_project_and_the_address_of_mlflow(station: Station) -> None:
    known = station.ask("GET", "deployments/name/retrain/gpu")["job_variables"]
    assert known["container_create_kwargs"]["user"] == f"{os.getuid()}:{os.getgid()}"
    assert known["env"] == {"MLFLOW_TRACKING_URI": station.mlflow}
    assert known["volumes"] == [f"{station.folder}:{station.folder}"]


def test_the_scheduler_starts_runs(toy: Toy, station: Station) -> None:
    schedule = station.schedule("train/here", 60)
    until(lambda: any(run["state_name"] == "Completed" for run in station.runs("train/here")), 600)
    station.ask("DELETE", schedule)
    for run in station.runs("train/here"):
        station.ended(run["id"])
    run = station.runs("train/here")[0]
    assert run["auto_scheduled"]
    assert station.tasks(run["id"]) == dict.fromkeys(STAGES, "Completed")
    assert sorted(toy.ran()) == ["clean", "clean", "join", "score"]
    assert "up to date" in toy.dvc("status")


def test_what_is_done_is_cached(toy: Toy, station: Station) -> None:
    run = station.start("train/here")
    assert station.ended(run) == "Completed"
    assert station.tasks(run) == dict.fromkeys(STAGES, CACHED)
    assert toy.ran() == []


def test_a_log_is_there_while_the_stage_runs(toy: Toy, station: Station) -> None:
    run, _ = held(toy, station, "log")
    until(lambda: "clean begins" in station.log(run))
    assert "clean ends" not in station.log(run)
    release(toy)
    assert station.ended(run) == "Completed"
    assert sorted(toy.ran()) == ["clean", "join", "score"]


def test_a_cancelled_run_leaves_nothing_running_and_dvc_unlocked(toy: Toy, station: Station) -> None:
    run, stage = held(toy, station, "cancelled")
    station.ask("POST", f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    until(lambda: not Path(f"/proc/{stage}").exists())
    until(lambda: idle(station))
    assert station.ended(run) == "Cancelled"
    release(toy)
    assert toy.ran() == ["clean"]
    toy.dvc("repro", "--quiet")  # would wait for ever, or refuse, if something still held a lock
    assert sorted(toy.ran()) == ["clean", "join", "score"]


def test_a_killed_stage_runs_again(toy: Toy, station: Station) -> None:
    run, stage = held(toy, station, "stage killed")
    (toy.outside / "fail-clean").write_text("-9")
    release(toy)
    assert station.ended(run) == "Completed"
    assert sorted(toy.ran()) == ["clean", "clean", "join", "score"]
    assert not Path(f"/proc/{stage}").exists()


def test_a_stage_that_fails_by_itself_does_not_run_again_and_people_are_told(
    toy: Toy, station: Station, notices: tuple[str, list[str]]
) -> None:
    (toy.outside / "fail-join").write_text("2")
    toy.change("wrong")
    run = station.start("train/here")
    assert station.ended(run) == "Failed"
    assert "exited with 2" in station.log(run)
    assert sorted(toy.ran()) == ["clean", "join"]
    assert station.tasks(run)["join"] == "Failed"
    assert "pickle" not in str(station.ask("POST", "artifacts/filter", {}))
    until(lambda: any("of train is Failed" in text and "join" in text for text in notices[1]))


def test_a_killed_flow_leaves_no_stage_behind_and_the_next_run_goes_on(toy: Toy, station: Station) -> None:
    run, stage = held(toy, station, "flow killed")
    (engine,) = station.find("prefect.engine")
    os.kill(engine, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{stage}").exists())
    until(lambda: idle(station))
    assert station.ended(run) == "Crashed"
    release(toy)
    toy.ran()
    assert station.ended(station.start("train/here")) == "Completed"
    assert sorted(toy.ran()) == ["clean", "join", "score"]


def test_a_killed_worker_is_started_again_and_its_run_has_gone_on(toy: Toy, station: Station) -> None:
    run, _ = held(toy, station, "worker killed")
    station.kill("worker")
    assert "worker" in station.services("status", code=1)
    release(toy)
    assert station.ended(run) == "Completed"
    station.services("up")
    assert station.ended(station.start("train/here")) == "Completed"


def test_a_run_that_outlived_its_worker_ends_when_another_starts_as_nobody_could_cancel_it(
    toy: Toy, station: Station
) -> None:
    run, stage = held(toy, station, "outlived")
    station.kill("worker")
    station.services("up")
    assert not Path(f"/proc/{stage}").exists() and idle(station)
    assert station.ended(run) == "Crashed"
    release(toy)
    toy.ran()
    assert station.ended(station.start("train/here")) == "Completed"
    assert sorted(toy.ran()) == ["clean", "join", "score"]


@pytest.mark.parametrize("name", ["prefect", "mlflow"])
def test_a_killed_server_leaves_nothing_that_holds_its_port(station: Station, name: str) -> None:
    station.kill(name)
    station.services("up")
    assert "does not answer" not in station.services("status")


def test_a_run_that_its_worker_took_and_never_started_has_crashed_and_gives_its_place_back(station: Station) -> None:
    """What a worker leaves that is killed between its first or its last word and the start of the process."""
    runs = [
        station.begun("train/here", {"type": "PENDING"}),
        station.begun("rollback/model", {"type": "PENDING", "name": "Submitting"}),
    ]
    assert [station.ended(run, 2 * START.total_seconds()) for run in runs] == ["Crashed", "Crashed"]
    assert station.ended(station.start("train/here")) == "Completed"


def test_a_killed_server_is_started_again_and_no_run_and_no_place_in_the_queue_is_lost(
    toy: Toy, station: Station
) -> None:
    run, _ = held(toy, station, "server killed")
    forgotten = station.begun("rollback/model", {"type": "RUNNING", "name": "Unheard"})  # no automation knows of it
    for server in station.find("server", "prefect"):
        os.kill(server, signal.SIGKILL)
    (toy.folder / LOCK).write_text("1")  # as if it had held it, and its number were that of another process now
    station.services("up")
    release(toy)
    assert station.ended(run) in {"Completed", "Crashed"}
    assert station.ended(forgotten) == "Crashed"
    assert station.ended(station.start("train/here")) == "Completed"
    assert "up to date" in toy.dvc("status")


def test_whatever_is_killed_whenever_a_later_run_repairs_it(toy: Toy, station: Station) -> None:
    """Twenty kills at random moments of runs; after one of each kind nothing is stale, locked or left running."""
    chance = random.Random(7)
    hit = dict.fromkeys(VICTIMS, 0)
    for number, name in enumerate(list(VICTIMS) * (KILLS // len(VICTIMS))):
        toy.change(f"kill {number}")
        run = station.start("train/here")
        time.sleep(chance.uniform(0, 6))
        for process in seen(station, run, VICTIMS[name]):
            hit[name] += 1
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        station.services("up")
        assert station.ended(run) in {"Completed", "Crashed", "Failed"}, (number, name)
        if (number + 1) % len(VICTIMS) == 0:
            assert station.ended(station.start("train/here")) == "Completed", number
            assert "up to date" in toy.dvc("status")
            until(lambda: idle(station))
    assert all(hit.values()), hit


def test_starting_twice_starts_nothing_twice_and_deploying_twice_adds_nothing(station: Station) -> None:
    until(lambda: not station.find("prefect.engine"))
    before = station.processes()
    names = station.ask("POST", "automations/filter", {})
    station.services("up")
    station.services("deploy")
    assert station.processes() == before
    assert len(station.ask("POST", "automations/filter", {})) == len(names)
    assert "does not answer" not in station.services("status")


def test_in_the_end_nothing_runs(toy: Toy, station: Station) -> None:
    held(toy, station, "stopped")
    station.kill("worker")
    station.services("down")
    assert station.processes() == {}
    release(toy)
    toy.dvc("repro", "--quiet")
