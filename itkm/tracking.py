"""MLflow: a run for each pipeline run, with its settings, curves, scores and page - and no image of a person."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

import itkm
from itkm.config import Settings
from itkm.errors import InputError, ItkmError, without_password
from itkm.files import sha256

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

EXPERIMENT = "itkm"
ARTIFACTS = "mlartifacts"
UNKNOWN = "unknown"
PARAMS_AT_ONCE, METRICS_AT_ONCE = 100, 1000  # limits of MLflow for one request
# No word to the outside, nothing is ever unpickled, and stdout is ours: commands print JSON there.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}  # unless the user says else
PLACES = {"flow_run": "ITKM_FLOW_RUN", "image_digest": "ITKM_IMAGE_DIGEST"}  # told by whoever starts a run
WEIGHTS = Path("artifacts") / "model" / "model.safetensors"
USAGE = Path(".itkm") / "usage"  # <stage>.csv, which `itkm.usage` writes
PER_GROUP = frozenset({"images", "clusters", "outliers", "cluster_pairs", "instance_pairs", "stability", "silhouette"})
PER_SCENARIO = frozenset({"cycle_consistency", "agreement"})

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


def tracking_address(root: Path) -> str:
    """Where MLflow keeps its runs and models: `MLFLOW_TRACKING_URI`, by default `mlflow.db` in the project."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(root / 'mlflow.db').resolve()}"


@contextlib.contextmanager
def mlflow_client(root: Path) -> Iterator[MlflowClient]:
    """A client of MLflow at `tracking_address`; what goes wrong in the block becomes a message of ours.

    Raises:
        InputError: MLflow is not installed, nothing of MLflow is at the address, or the server wants another password.
        ItkmError: no server answers, or the database is locked or full: the same command may work later.
    """
    if find_spec("mlflow") is None:
        raise InputError("MLflow is not installed. Install it with `pip install 'itkm[ops]'`.")
    os.environ.update({**PATIENCE, **os.environ, **ENVIRONMENT})
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    address = tracking_address(root)
    _require_possible(address)
    logging.getLogger("mlflow.store.db.utils").addFilter(_is_no_failure)
    try:
        yield MlflowClient(tracking_uri=address)
    except (MlflowException, SQLAlchemyError) as error:
        raise _explained(error, address) from error


@contextlib.contextmanager
def uploading(client: MlflowClient) -> Iterator[None]:
    """Files on their way to MLflow, whose client lets errors of the disk and of HTTP through as they are.

    Raises:
        ItkmError: one of these.
    """
    try:
        yield
    except OSError as error:
        raise _explained(error, client.tracking_uri) from error


def log_run(
    settings: Settings,
    metrics: Mapping[str, Any],
    histories: Mapping[str, History],
    page_without_images: Path,
    *,
    root: Path,
) -> None:
    """Logs one run to MLflow like `track_run`, but what fails is a warning: the result itself is already written."""
    if find_spec("mlflow") is None:
        logger.info("tracking skipped: mlflow is not installed (pip install 'itkm[ops]')")
        return
    try:
        track_run(settings, metrics, histories, page_without_images, root=root)
    except ItkmError as error:
        logger.warning("not tracked: %s Then run `itkm run report` again.", error)


def track_run(
    settings: Settings,
    metrics: Mapping[str, Any],
    histories: Mapping[str, History],
    page_without_images: Path,
    *,
    root: Path,
) -> str:
    """Logs one run to MLflow and returns its id.

    Args:
        settings: become the run's params.
        metrics: the content of `reports/metrics.json`.
        histories: rows of each training stage's history; become curves over the epochs.
        page_without_images: the report, with no image of a person.
        root: the project's folder.

    Raises:
        ItkmError: MLflow fails, see `mlflow_client`.
    """
    with mlflow_client(root) as client:
        tags = {**lineage(settings, root), "result": result_hash(metrics)}
        run = client.create_run(_experiment(client, artifact_folder(root)), tags=tags).info.run_id
        status = "FAILED"
        try:
            _log_content(client, run, settings, metrics, histories)
            _log_usage(client, run, root)
            with uploading(client):
                client.log_artifact(run, str(page_without_images))
                client.log_dict(run, dict(metrics), "metrics.json")
            status = "FINISHED"
        finally:
            client.set_terminated(run, status)
    logger.info("tracked as run %s of experiment %r at %s", run, EXPERIMENT, without_password(tracking_address(root)))
    return str(run)


def lineage(settings: Settings, root: Path) -> dict[str, str]:
    """What a run or model can be traced back to: versions, and hashes of data, lock file, weights, image and flow."""
    files = {
        **{f"{name}.sha256": root / name for name in ("data.dvc", "dvc.lock")},
        **{f"manifest.{name}": root / "data" / name / "manifest.parquet" for name in settings.scenarios},
        "model": root / WEIGHTS,
    }
    return {
        **{name.replace(" ", "_"): value for name, value in versions(settings, root).items()},
        **{name: sha256(file) for name, file in files.items() if file.is_file()},
        **{tag: os.environ.get(variable) or UNKNOWN for tag, variable in PLACES.items()},
    }


def result_hash(metrics: Mapping[str, Any]) -> str:
    """SHA-256 of a result, by which its run is found again."""
    return hashlib.sha256(json.dumps(metrics, sort_keys=True).encode()).hexdigest()


def artifact_folder(root: Path) -> Path | None:
    """Where files of runs go: beside the sqlite database, else in the project; None where a server chooses itself."""
    address = tracking_address(root)
    if address.startswith(("http://", "https://")):
        return None
    file = sqlite_file(address)
    return ((file.parent if file else root) / ARTIFACTS).resolve()


def sqlite_file(address: str) -> Path | None:
    """The file of a sqlite address; None for any other."""
    return Path(address.removeprefix("sqlite:///").split("?")[0]) if address.startswith("sqlite:///") else None


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
    for row in history:
        for column, value in row.items():
            if isinstance(value, str) or column == "epoch" or not math.isfinite(value):
                continue
            values[f"{stage}/{column}{_place(row, column)}", int(row["epoch"])] = value
    return values


def _place(row: Mapping[str, str | float], column: str) -> str:
    """What a value is of: one group, one scenario, or the whole stage."""
    if column in PER_GROUP:
        return f"/{row['scenario']}/{row['group']}"
    return f"/{row['scenario']}" if column in PER_SCENARIO else ""


def _require_possible(address: str) -> None:
    """Refuses what would make MLflow wait for minutes, or write where nobody looks."""
    file = sqlite_file(address)
    if file is not None and not file.parent.is_dir():
        raise InputError(f"{address}: {file.parent} is no folder. Correct MLFLOW_TRACKING_URI.")
    if not re.match(r"(https?|sqlite|postgresql|mysql|mssql)(\+\w+)?://", address):
        raise InputError(
            f"{without_password(address)}: no address of MLflow. Expected http://HOST:PORT or "
            "sqlite:////FOLDER/mlflow.db in MLFLOW_TRACKING_URI."
        )
    if not address.startswith("http"):
        _require_driver(address)


def _require_driver(address: str) -> None:
    """Refuses a data base of which SQLAlchemy knows no kind, or whose Python module is not installed."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(address).get_dialect().import_dbapi()
    except (ArgumentError, ModuleNotFoundError, ValueError) as error:
        raise InputError(
            f"{without_password(address)}: {error}. Install what this kind of data base needs, or correct "
            "MLFLOW_TRACKING_URI."
        ) from error


def _is_no_failure(record: logging.LogRecord) -> bool:
    """Drops what MLflow logs of a failure, with its traceback: the error is raised as well, and explained by us."""
    return record.levelno < logging.ERROR


def _explained(error: Exception, address: str) -> ItkmError:
    """A failure of MLflow as one message: what failed, and what to do."""
    place, said = f"MLflow at {without_password(address)}", without_password(str(error))
    if "database is locked" in said:
        return ItkmError(f"{place} failed: the database is locked by another process. Try again in a moment.")
    if "disk is full" in said or "No space left" in said:
        return ItkmError(f"{place} failed: the disk is full. Free some space and type the same command again.")
    if isinstance(error, OSError) and error.errno:  # a file of ours, not an answer
        return ItkmError(f"{place} failed: {said}. Mend this and type the same command again.")
    if re.search(r"Max retries exceeded|Connection (refused|aborted|reset)|Read timed out|Name or service", said):
        return ItkmError(f"{place} failed: no server answers. Start it (`make up`), or correct MLFLOW_TRACKING_URI.")
    if re.search(r"error code 401|error code 403|not authenticated|Permission denied", said):
        return InputError(f"{place} failed: it refuses the password. Set MLFLOW_TRACKING_USERNAME and _PASSWORD.")
    if re.search(r"error code 40[45]|not in a valid JSON format|INTERNAL_ERROR: Response: ", said):
        return InputError(f"{place} failed: what answers there is no MLflow. Correct MLFLOW_TRACKING_URI.")
    return ItkmError(f"{place} failed: {' '.join(said.split())[:500]}.")


def _experiment(client: MlflowClient, artifacts: Path | None) -> str:
    """The number of our experiment, made if it is not there."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(EXPERIMENT, artifact_location=artifacts.as_uri() if artifacts else None))


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
    _log_metrics(client, run, values)


def _log_usage(client: MlflowClient, run: str, root: Path) -> None:
    """What each stage used of the machine when it last ran here: MLflow's system metrics."""
    from mlflow.entities import Metric

    for file in sorted((root / USAGE).glob("*.csv")):
        table = pd.read_csv(file)
        columns = [name for name in table if name != "timestamp"]
        values = [
            Metric(f"system/{file.stem}/{name}", float(value), int(1000 * moment), step)
            for name in columns
            for step, (moment, value) in enumerate(zip(table["timestamp"], table[name], strict=True))
        ]
        _log_metrics(client, run, values)


def _log_metrics(client: MlflowClient, run: str, values: list[Metric]) -> None:
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
