"""A registry with a few tiny models, made without training: for tests of what happens to versions."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path

from itkm.registry.rules import ScenarioScores, Scores
from itkm.registry.store import FILES, LOCK, SCORES, Registry, Version, hash_files
from itkm.tracking import EXPERIMENT, artifact_folder, mlflow_client


@functools.cache
def empty_database(folder: Path) -> Path:
    """An mlflow.db with all its tables, made once: that takes seconds."""
    with mlflow_client(folder) as client:
        client.search_experiments()
    return folder / "mlflow.db"


def add_model(registry: Registry, root: Path, scores: Scores | float, *, content: str = "", **tags: str) -> Version:
    """Registers a folder of files that only look like a model; a number is the mAP in `vi`, `tags` are added."""
    count = len(registry.versions())
    folder = root / f"model{count}"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text(content or f"weights of {count}")
    found = registry.client.get_experiment_by_name(EXPERIMENT)
    place = artifact_folder(root)
    experiment = (
        found.experiment_id
        if found
        else registry.client.create_experiment(EXPERIMENT, artifact_location=place.as_uri() if place else None)
    )
    run = registry.client.create_run(experiment).info.run_id
    own = scores if isinstance(scores, Scores) else scored(scores)
    ours = {FILES: json.dumps(hash_files(folder)), SCORES: own.model_dump_json(), LOCK: f"lock {count}"}
    version = registry.add(folder, run, {**ours, "data": "d" * 64, "git_commit": "c" * 40, **tags})
    shutil.rmtree(folder)
    return version


def scored(mean_ap: float, *, evaluation: str = "set", scenario: str = "vi") -> Scores:
    own = ScenarioScores(mAP=mean_ap, evaluation=evaluation)
    return Scores(architecture="demo 96x48", accepted=True, scenarios={scenario: own})
