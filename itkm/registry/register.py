"""From a finished run to a version in the registry, with all that it can be traced back to."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from itkm.config import Settings
from itkm.errors import InputError
from itkm.files import sha256
from itkm.models.store import load_model
from itkm.registry.scores import recorded_scores
from itkm.registry.store import CHALLENGER, CHAMPION, FILES, SCORES, Registry, Version, hash_files, open_registry
from itkm.stages.layout import Layout
from itkm.stages.report import make_report, page_without_images
from itkm.tracking import EXPERIMENT, lineage, result_hash, track_run


@dataclass(frozen=True)
class Registered:
    """A version, and whether it was made just now."""

    version: Version
    created: bool


def register(settings: Settings, layout: Layout) -> Registered:
    """Registers `artifacts/model` as the newest version and the challenger; the same model again changes nothing.

    Killed at any moment, the next call finishes: a version appears only when its files are all uploaded, and one
    without alias and decision becomes the challenger. Of two calls at once the first to add its version wins.

    Args:
        settings: of the run.
        layout: the project in which `dvc repro` finished.

    Raises:
        InputError: no finished run, or files that are not those of `dvc.lock`.
        ItkmError: MLflow fails, see `itkm.tracking.mlflow_client`.
    """
    files = hash_files(layout.model)
    require_locked(layout)
    with open_registry(layout.root, create=True) as registry:
        lock = sha256(layout.root / "dvc.lock")
        version, created = registry.find(files, lock), False
        if version is None:
            own = _add(settings, layout, files, registry)
            version = registry.find(files, lock) or own
            created = version.number == own.number
            if not created:  # another process registered the same at the same time
                registry.withdraw(own)
        if CHAMPION not in version.aliases and not version.decisions:
            registry.point(CHALLENGER, version.number)
        return Registered(registry.version(version.number), created)


def require_locked(layout: Layout) -> None:
    """Refuses a model or result that is not the one in `dvc.lock`: its version could not be traced back.

    Raises:
        InputError: no `dvc.lock`, or it names other content.
    """
    path = layout.root / "dvc.lock"
    try:
        stages = yaml.safe_load(path.read_text(encoding="utf-8"))["stages"]
    except FileNotFoundError as error:
        raise InputError(f"{path}: not found. Train with `dvc repro`.") from error
    locked = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
    for file in (layout.model, layout.metrics):
        name = file.relative_to(layout.root).as_posix()
        if not file.exists() or locked.get(name) != _dvc_md5(file):
            raise InputError(f"{file}: not what {path} says. Run `dvc repro`, or `dvc checkout`.")


def _add(settings: Settings, layout: Layout, files: dict[str, str], registry: Registry) -> Version:
    metrics: dict[str, Any] = json.loads(layout.metrics.read_text(encoding="utf-8"))
    scores = recorded_scores(settings, layout, metrics, load_model(layout.model)[2])
    same = {"model": files["model.safetensors"], "result": result_hash(metrics)}
    run = registry.find_run(EXPERIMENT, **same) or _track(settings, layout)
    tags = {**lineage(settings, layout.root), FILES: json.dumps(files), SCORES: scores.model_dump_json()}
    return registry.add(layout.model, run, tags)


def _track(settings: Settings, layout: Layout) -> str:
    """Logs a run that MLflow does not know: its stages came out of DVC's cache, or ran beside another MLflow."""
    try:
        report = make_report(settings, layout)
        with page_without_images(report, layout) as page:
            return track_run(settings, report.metrics, report.histories, page, root=layout.root)
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename}: not found, and MLflow does not know this run yet, whose page shows it. Run `dvc pull`, "
            "or `dvc repro`."
        ) from error


def _dvc_md5(path: Path) -> str:
    """The hash under which DVC holds a file or a flat folder."""
    if path.is_file():
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    entries = [{"md5": _dvc_md5(file), "relpath": file.name} for file in sorted(path.iterdir())]
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
