"""`itkm model` as people and flows type it: what it prints, its exit codes, and what bad input gets."""

from __future__ import annotations

import http.server
import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from registered import add_model, scored

from itkm.cli import main
from itkm.data.shards import write_scenario
from itkm.files import sha256
from itkm.registry.store import CHALLENGER, CHAMPION, Registry
from tiny import scenario_rows

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def project(registry: Registry, root: Path) -> Registry:
    """A registry with three models, none of them promoted; the third is the challenger."""
    (root / "params.yaml").write_text("scenarios: [vi]\nregistry: {margin: 0.01, tolerance: 0.05}\n")
    for mean_ap in (0.5, 0.6, 0.4):
        add_model(registry, root, mean_ap)
    registry.point(CHALLENGER, "3")
    return registry


def printed(capsys: Capture, *arguments: str, code: int = 0) -> Any:
    """The JSON object that a command prints, and nothing else, on stdout."""
    assert main(["model", *arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("project")
def test_promote_compare_rollback_and_list_as_programs_read_them(capsys: Capture) -> None:
    first = printed(capsys, "promote", "--version", "1")
    assert {name: first[name] for name in ("promoted", "version", "champion", "previous", "metric", "basis")} == {
        **{"promoted": True, "version": "1", "champion": "1", "previous": None},
        **{"metric": "mAP", "basis": "labels"},
    }
    compared = printed(capsys, "compare", "2")
    assert compared["scores"]["vi"] == {"candidate": 0.6, "champion": 0.5}
    assert compared["outcome"] == "promote" and compared["champion"] == "1"
    second = printed(capsys, "promote", "--version", "2")
    assert (second["champion"], second["previous"]) == ("2", "1")
    refused = printed(capsys, "promote", code=4)
    assert not refused["promoted"] and refused["version"] == "3" and refused["champion"] == "2"
    back = printed(capsys, "rollback", "--reason", "worse at night")
    assert (back["champion"], back["previous"], back["finished"]) == ("1", None, False)
    assert back["reasons"] == ["Version 2 rolled back to 1: worse at night"]
    listed = {own["version"]: own for own in printed(capsys, "list")["versions"]}
    assert list(listed) == ["3", "2", "1"]
    assert [listed[number]["decision"] for number in "123"] == ["promoted", "rolled back", "refused"]
    assert [listed[number]["aliases"] for number in "123"] == [["champion"], [], ["challenger"]]
    assert listed["3"]["reasons"] == refused["reasons"]
    assert listed["2"]["mAP"] == 0.6 and listed["2"]["created_at"].endswith("Z")


@pytest.mark.usefixtures("project")
def test_for_people(capsys: Capture) -> None:
    assert main(["model", "promote", "--version", "1"]) == 0
    assert "There is no champion yet.\npromote: champion is 1, previous is -\n" in capsys.readouterr().out
    assert main(["model", "promote"]) == 4
    said = capsys.readouterr()
    assert "0.400  champion  0.500" in said.out
    assert "itkm: version 3 is refused: vi: mAP 0.400 after 0.500" in said.err
    assert main(["model", "promote", "--force", "the old camera is gone"]) == 0
    assert main(["model", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-3:]] == ["3", "2", "1"]
    assert "promoted" in lines[-3] and lines[-3].endswith("champion")


@pytest.mark.usefixtures("root")
def test_an_empty_registry_is_an_empty_list(capsys: Capture) -> None:
    assert printed(capsys, "list") == {"versions": []}
    Path("mlflow.db").unlink()
    assert printed(capsys, "list") == {"versions": []}
    assert main(["model", "list"]) == 0
    assert "No model is registered" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["promote", "--version", "9"], "version '9': not registered. Known are challenger, 3, 2, 1"),
        (["compare", "champion"], "version 'champion': not registered"),
        (["rollback"], "there is no champion to roll back"),
        (["register"], "artifacts/model: no model. Expected config.json and model.safetensors"),
    ],
)
@pytest.mark.usefixtures("project")
def test_bad_input_exits_2(arguments: list[str], said: str, capsys: Capture) -> None:
    assert main(["model", *arguments]) == 2
    found = capsys.readouterr()
    assert said in found.err and "Traceback" not in found.err and found.out == ""


def test_nan_exits_4_and_prints_json(project: Registry, root: Path, capsys: Capture) -> None:
    add_model(project, root, scored(float("nan")))
    refused = printed(capsys, "promote", "--version", "4", "--force", "please", code=4)
    assert refused["scores"]["vi"]["candidate"] is None
    assert "no number to promote on" in refused["reasons"][0]
    assert printed(capsys, "list")["versions"][0]["mAP"] is None


def test_no_server_and_a_locked_database_exit_1(
    project: Registry, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}?timeout=1")
    with sqlite3.connect(root / "mlflow.db") as database:
        database.execute("begin exclusive")
        assert main(["model", "promote", "--version", "1"]) == 1
    assert "the database is locked by another process. Try again" in capsys.readouterr().err
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert main(["model", "list"]) == 1
    assert "no server answers. Start it (`make up`), or correct MLFLOW_TRACKING_URI" in capsys.readouterr().err
    assert project.versions()[0].decisions == []


def test_purge_lists_the_models_that_were_trained_on_the_images(project: Registry, root: Path, capsys: Capture) -> None:
    write_scenario(scenario_rows("vi"), root / "data" / "vi")
    trained_on = {"manifest.vi": sha256(root / "data" / "vi" / "manifest.parquet")}
    number = add_model(project, root, 0.7, **trained_on).number
    project.point(CHAMPION, number)
    for arguments in ([], ["--yes"]):
        assert main(["purge", "--scenario", "vi", "--camera", "c1", *arguments]) == 0
        said = capsys.readouterr().out
        assert "Models that were trained on them:\n  models:/itkm/4 (champion)\n" in said
        assert "models:/itkm/3" not in said


class Refuses(http.server.BaseHTTPRequestHandler):
    """A server with a password that is not ours."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.end_headers()
        self.wfile.write(b"You are not authenticated. Please see https://www.mlflow.org/docs/latest/auth")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://someone:secret@127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_wrong_password_exits_2_and_is_not_shown(
    refusing: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", refusing)
    assert main(["model", "list"]) == 2
    said = capsys.readouterr().err
    assert "it refuses the password. Set MLFLOW_TRACKING_USERNAME and _PASSWORD" in said
    assert "secret" not in said
