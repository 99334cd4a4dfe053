"""MLflow: a run for each pipeline run, with its settings, curves, scores and page - and no image of a person."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import itkm
from itkm.config import Settings
from itkm.files import sha256

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "itkm"
ARTIFACTS = "mlartifacts"
UNKNOWN = "unknown"
PARAMS_AT_ONCE, METRICS_AT_ONCE = 100, 1000  # limits of MLflow for one request
# No word to the outside, and nothing is ever unpickled.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}

History = Sequence[Mapping[str, str | float]]

logger = logging.getLogger(__name__)


def versions(settings: Settings, root: Path) -> dict[str, str]:
    """What made a result: Python, packages, code and data."""
    packages = {name: _installed(name) for name in ("torch", "open_clip_torch", "numpy")}
    return {
        "itkm": itkm.__version__,
        "python": platform.python_version(),
        **packages,
        "git commit": git_commit(root),
        "data": data_hash(settings, root),
        "data.dvc": dvc_hash(root),
    }


def git_commit(root: Path) -> str:
    """The commit of the code, marked where code or params.yaml differ from it."""
    commit = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--", "itkm", "params.yaml")
    return f"{commit} and uncommitted changes" if changed not in ("", UNKNOWN) else commit


def data_hash(settings: Settings, root: Path) -> str:
    """SHA-256 over the manifests of the scenarios."""
    files = [root / "data" / scenario / "manifest.parquet" for scenario in settings.scenarios]
    if not all(file.is_file() for file in files):
        return UNKNOWN
    return hashlib.sha256("\n".join(sha256(file) for file in files).encode()).hexdigest()


def dvc_hash(root: Path) -> str:
    """The hash under which DVC holds the data."""
    file = root / "data.dvc"
    if not file.is_file():
        return UNKNOWN
    return str(yaml.safe_load(file.read_text(encoding="utf-8"))["outs"][0].get("md5", UNKNOWN))


def log_run(
    settings: Settings,
    metrics: Mapping[str, Any],
    histories: Mapping[str, History],
    page_without_images: Path,
    *,
    root: Path,
) -> None:
    """Logs one run to MLflow: at `MLFLOW_TRACKING_URI`, by default `mlflow.db` and `mlartifacts/` in the project.

    A tracking server that fails is a warning: the result itself is already written.

    Args:
        settings: become the run's params.
        metrics: the content of `reports/metrics.json`.
        histories: rows of each training stage's history; become curves over the epochs.
        page_without_images: the report, with no image of a person.
        root: the project's folder.
    """
    if find_spec("mlflow") is None:
        logger.info("tracking skipped: mlflow is not installed (pip install 'itkm[ops]')")
        return
    os.environ.update(ENVIRONMENT)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    local = f"sqlite:///{(root / 'mlflow.db').resolve()}"
    address = os.environ.get("MLFLOW_TRACKING_URI") or local
    try:
        client = MlflowClient(tracking_uri=address)
        server = address.startswith(("http://", "https://"))  # which chooses the place of its artifacts itself
        experiment = _experiment(client, None if server else (root / ARTIFACTS).resolve())
        run = client.create_run(experiment, tags=_tags(settings, root)).info.run_id
        status = "FAILED"
        try:
            _log_content(client, run, settings, metrics, histories)
            client.log_artifact(run, str(page_without_images))
            client.log_dict(run, dict(metrics), "metrics.json")
            status = "FINISHED"
        finally:
            client.set_terminated(run, status)
        logger.info("tracked as run %s of experiment %r at %s", run, EXPERIMENT, address)
    except MlflowException as error:
        logger.warning("not tracked: MLflow at %s failed: %s. Run `itkm run report` again.", address, error)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested dicts, named by their path with dots."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def step_values(stage: str, history: History) -> dict[tuple[str, int], float]:
    """The values of a history by (name, epoch): `<stage>/<column>`, with `/<scenario>/<group>` where they differ."""
    values: dict[tuple[str, int], float] = {}
    per_group = {"images", "clusters", "outliers", "cluster_pairs", "instance_pairs"}
    for row in history:
        for column, value in row.items():
            if isinstance(value, str) or column == "epoch" or not math.isfinite(value):
                continue
            place = f"/{row['scenario']}/{row['group']}" if column in per_group else ""
            values[f"{stage}/{column}{place}", int(row["epoch"])] = value
    return values


def _experiment(client: MlflowClient, artifacts: Path | None) -> str:
    """The number of our experiment, made if it is not there."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(EXPERIMENT, artifact_location=artifacts.as_uri() if artifacts else None))


def _tags(settings: Settings, root: Path) -> dict[str, str]:
    """What a run can be traced back to."""
    hashes = {name: sha256(root / name) for name in ("data.dvc", "dvc.lock") if (root / name).is_file()}
    return {
        **{name.replace(" ", "_"): value for name, value in versions(settings, root).items()},
        **{f"{name}.sha256": value for name, value in hashes.items()},
    }


def _log_content(
    client: MlflowClient,
    run: str,
    settings: Settings,
    metrics: Mapping[str, Any],
    histories: Mapping[str, History],
) -> None:
    from mlflow.entities import Metric, Param

    params = [Param(name, str(value)) for name, value in flat(settings.model_dump(mode="json"))]
    now = int(time.time() * 1000)
    final = {**metrics["scenarios"], "average": metrics["average"]}
    values = [
        Metric(name.replace(".", "/"), float(value), now, 0)
        for name, value in flat(final)
        if isinstance(value, int | float)
    ]
    for stage, history in histories.items():
        values += [Metric(name, value, now, epoch) for (name, epoch), value in step_values(stage, history).items()]
    for start in range(0, len(params), PARAMS_AT_ONCE):
        client.log_batch(run, params=params[start : start + PARAMS_AT_ONCE])
    for start in range(0, len(values), METRICS_AT_ONCE):
        client.log_batch(run, metrics=values[start : start + METRICS_AT_ONCE])


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _git(root: Path, *arguments: str) -> str:
    """The output of a git command in the project, or `UNKNOWN` where it is not under git."""
    try:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
