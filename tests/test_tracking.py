from __future__ import annotations

import hashlib
import logging
import re
import shutil
import sqlite3
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from unittest.mock import Mock

import pytest
from requests import HTTPError

from itkm.config import Settings
from itkm.errors import InputError, ItkmError, without_password
from itkm.tracking import (
    dvc_hash,
    flat,
    git_commit,
    log_run,
    mlflow_client,
    result_hash,
    step_values,
    track_run,
    versions,
)

mlflow = pytest.importorskip("mlflow")

SETTINGS = Settings(scenarios=("vi", "own"), seed=7)
SCORES = {"protocol": "cross-group", "queries": 10, "rank1": 0.5, "mAP": 0.4}
METRICS = {
    "scenarios": {
        "vi": {"heterogeneous": SCORES, "clusters": {"visible": {"purity": 0.9, "nmi": None}}},
        "own": {"heterogeneous": None},
    },
    "average": {"heterogeneous": {"mAP": 0.4}},
    "rendered": True,
}
HISTORY = [
    {"epoch": float(epoch), "scenario": "vi", "group": group, "clusters": 10.0 + epoch, "loss": 1 / epoch}
    for epoch in (1, 2, 3)
    for group in ("visible", "infrared")
]
USAGE = "timestamp,cpu_utilization_percentage,process_memory_usage_megabytes\n100.5,50,700\n105.5,75,701\n"
HISTORIES = {"homogeneous": HISTORY, "prompts": [{"epoch": 1.0, "loss": 2.0, "between_scenarios": float("nan")}]}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project under git in which one run was tracked."""
    root = tmp_path_factory.mktemp("tracked")
    page = root / "report.html"
    page.write_text("<!doctype html><title>report</title>")
    (root / "data.dvc").write_text("outs:\n- md5: 0123abcd.dir\n  path: data\n")
    (root / "params.yaml").write_text("seed: 7\n")
    git = ["git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@t"]
    for arguments in (["init", "-q"], ["add", "params.yaml"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *arguments], check=True)
    (root / ".itkm" / "usage").mkdir(parents=True)
    (root / ".itkm" / "usage" / "extract-vi.csv").write_text(USAGE)
    (root / "artifacts" / "model").mkdir(parents=True)
    (root / "artifacts" / "model" / "model.safetensors").write_bytes(b"weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("ITKM_FLOW_RUN", "flow-7")
        patch.delenv("ITKM_IMAGE_DIGEST", raising=False)
        log_run(SETTINGS, METRICS, HISTORIES, page, root=root)
    return root


@pytest.fixture
def run(root: Path):  # noqa: ANN201 - mlflow's types are imported late
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("itkm")
    (run,) = client.search_runs([experiment.experiment_id])
    return run


def test_run_is_finished_with_params_and_final_scores(run) -> None:  # noqa: ANN001
    assert run.info.status == "FINISHED"
    assert run.data.params["seed"] == "7"
    assert run.data.params["homogeneous.epochs"] == str(SETTINGS.homogeneous.epochs)
    assert len(run.data.params) == len(list(flat(SETTINGS.model_dump(mode="json"))))
    assert run.data.metrics["vi/heterogeneous/mAP"] == 0.4
    assert run.data.metrics["vi/clusters/visible/purity"] == 0.9
    assert run.data.metrics["average/heterogeneous/mAP"] == 0.4
    assert not any(name.startswith("own") or "nmi" in name for name in run.data.metrics)


def test_run_has_the_curves(run, root: Path) -> None:  # noqa: ANN001
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")
    loss = client.get_metric_history(run.info.run_id, "homogeneous/loss")
    assert [(metric.step, metric.value) for metric in loss] == [(1, 1), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert len(client.get_metric_history(run.info.run_id, "homogeneous/clusters/vi/infrared")) == 3


def test_run_can_be_traced_back(run, root: Path) -> None:  # noqa: ANN001
    head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    assert run.data.tags["git_commit"] == head
    assert run.data.tags["data.dvc"] == "0123abcd.dir"
    assert len(run.data.tags["data.dvc.sha256"]) == 64
    assert "dvc.lock.sha256" not in run.data.tags
    assert run.data.tags["flow_run"] == "flow-7"
    assert run.data.tags["image_digest"] == "unknown"
    assert run.data.tags["model"] == hashlib.sha256(b"weights").hexdigest()
    assert run.data.tags["result"] == result_hash(METRICS)


def test_run_has_what_the_stages_used_of_the_machine(run, root: Path) -> None:  # noqa: ANN001
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")
    used = client.get_metric_history(run.info.run_id, "system/extract-vi/cpu_utilization_percentage")
    assert [(own.step, own.value, own.timestamp) for own in used] == [(0, 50, 100_500), (1, 75, 105_500)]


def test_artifacts_are_the_page_and_the_metrics_and_no_image(run, root: Path) -> None:  # noqa: ANN001
    files = [path for path in (root / "mlartifacts").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"report.html", "metrics.json"}
    for path in files:
        content = path.read_bytes()
        assert b"data:image" not in content
        assert b"\xff\xd8\xff" not in content
    assert not (root / "mlruns").exists()


def test_a_server_that_fails_is_a_warning(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    log_run(SETTINGS, METRICS, HISTORIES, root / "report.html", root=root)
    assert "not tracked: MLflow at http://127.0.0.1:9 failed: no server answers. Start it" in caplog.text
    with pytest.raises(ItkmError, match="no server answers"):
        track_run(SETTINGS, METRICS, HISTORIES, root / "report.html", root=root)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied", "mlartifacts"), "Permission denied: 'mlartifacts'. Mend this"),
        (OSError(28, "No space left on device"), "the disk is full"),
        (HTTPError("413 Client Error: Too Large for url: http://me:secret@host/x"), "Too Large for url: http://host/x"),
    ],
)
def test_a_file_that_cannot_be_uploaded_is_a_warning(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: OSError, said: str
) -> None:
    monkeypatch.setattr(mlflow.MlflowClient, "log_artifact", Mock(side_effect=error))
    log_run(SETTINGS, METRICS, HISTORIES, root / "report.html", root=root)
    assert said in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ftp://127.0.0.1", "ftp://127.0.0.1: no address of MLflow. Expected http://HOST:PORT"),
        ("mlruns", "mlruns: no address of MLflow"),
        ("sqlite:////nowhere/mlflow.db", "/nowhere is no folder. Correct MLFLOW_TRACKING_URI"),
        ("mysql+pymssql://user:word@host/x", "mysql+pymssql://host/x: Can't load plugin"),
        ("mssql+pyodbc://host/x", "No module named 'pyodbc'. Install what this kind of data base needs"),
        ("postgresql://host:port/x", "postgresql://host:port/x: invalid literal for int()"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, address: str, said: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(InputError, match=re.escape(said)), mlflow_client(root):
        pass


@pytest.mark.parametrize(
    ("code", "body"), [(404, b'{"detail": "Not Found"}'), (404, b"<html>"), (405, b""), (200, b"<html>"), (200, b"[]")]
)
def test_what_is_no_mlflow_is_said_to_be_none(
    root: Path, monkeypatch: pytest.MonkeyPatch, code: int, body: bytes
) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(InputError, match=r"what answers there is no MLflow\. Correct MLFLOW_TRACKING_URI"):
            track_run(SETTINGS, METRICS, HISTORIES, root / "report.html", root=root)
        server.shutdown()


def test_artifacts_lie_beside_the_database_wherever_the_run_is_made(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(root / "mlflow.db", tmp_path / "mlflow.db")
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("update experiments set name = 'other' where name = 'itkm'")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    track_run(SETTINGS, METRICS, HISTORIES, root / "report.html", root=root / "clone")
    assert list((tmp_path / "mlartifacts").rglob("report.html"))


@pytest.mark.parametrize("lock", ["exclusive", "immediate"])
def test_a_locked_database_is_said_to_be_one_and_nothing_else_is_said(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lock: str
) -> None:
    shutil.copy(root / "mlflow.db", tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}?timeout=1")
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute(f"begin {lock}")
        with pytest.raises(ItkmError, match="the database is locked by another process"):
            track_run(SETTINGS, METRICS, HISTORIES, root / "report.html", root=root)
    assert capsys.readouterr().err == ""


def test_a_password_is_never_shown() -> None:
    assert without_password("http://user:secret@host:5000") == "http://host:5000"
    assert without_password("sqlite:////a/mlflow.db") == "sqlite:////a/mlflow.db"


def test_without_mlflow_tracking_is_skipped(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("itkm.tracking.find_spec", lambda name: None)
    with caplog.at_level(logging.INFO):
        log_run(SETTINGS, METRICS, HISTORIES, root / "report.html", root=root / "nowhere")
    assert "tracking skipped" in caplog.text
    assert not (root / "nowhere").exists()


def test_values_shared_by_all_groups_are_logged_once() -> None:
    values = step_values("homogeneous", HISTORY)
    assert len(values) == 3 + 2 * 3
    assert values["homogeneous/clusters/vi/visible", 2] == 12
    assert step_values("prompts", HISTORIES["prompts"]) == {("prompts/loss", 1): 2.0}


def test_values_of_a_scenario_are_logged_once_for_it() -> None:
    rows = [{"epoch": 1.0, "scenario": "vi", "group": group, "agreement": 0.5, "stability": 0.7} for group in "ab"]
    assert step_values("heterogeneous", rows) == {
        ("heterogeneous/agreement/vi", 1): 0.5,
        ("heterogeneous/stability/vi/a", 1): 0.7,
        ("heterogeneous/stability/vi/b", 1): 0.7,
    }


def test_changed_settings_show_beside_the_commit(root: Path) -> None:
    before = (root / "params.yaml").read_text()
    assert "uncommitted" not in git_commit(root)
    (root / "params.yaml").write_text("seed: 8\n")
    assert git_commit(root).endswith("and uncommitted changes")
    (root / "params.yaml").write_text(before)


def test_what_is_not_there_is_unknown(tmp_path: Path) -> None:
    found = versions(SETTINGS, tmp_path)
    assert (found["git commit"], found["data"], dvc_hash(tmp_path)) == ("unknown",) * 3
    assert found["torch"][0].isdigit()
