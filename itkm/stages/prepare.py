"""Where identities end: a manifest is cut into the table that training reads and the one with the hidden labels."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from itkm.config import Settings
from itkm.data.groups import only_scenario, order_groups
from itkm.data.manifest import MANIFEST_FILE, read_manifest
from itkm.data.training import split_tables
from itkm.errors import InputError
from itkm.files import replacing
from itkm.stages.layout import Layout

logger = logging.getLogger(__name__)


def run(settings: Settings, layout: Layout, scenario: str) -> None:
    """Writes `artifacts/prepared/<scenario>/train.parquet` without any identity, and `artifacts/hidden` with them."""
    folder = layout.data(scenario)
    if not (folder / MANIFEST_FILE).is_file():
        raise InputError(
            f"{folder}: no data of scenario {scenario!r}. Import it with `itkm data import FORMAT PATH --scenario "
            f"{scenario} --out {folder}` (`itkm data formats` lists the formats), in a fresh clone run `dvc pull`, or "
            f"remove {scenario!r} from `scenarios` in params.yaml."
        )
    manifest = read_manifest(folder)
    require_scenario(manifest, scenario, folder=folder)
    train, evaluation = split_tables(manifest)
    require_batches(train, settings, scenario, folder=folder)
    for table, path in (
        (train, layout.training_table(scenario)),
        (evaluation, layout.evaluation_table(scenario)),
    ):
        with replacing(path) as temporary:
            table.to_parquet(temporary, index=False)
    logger.info("prepare %s: %d training images, %d images in all", scenario, len(train), len(evaluation))


def require_scenario(manifest: pd.DataFrame, scenario: str, *, folder: Path) -> None:
    """Refuses data that call themselves by another scenario's name: models and results go by these names."""
    found = only_scenario(manifest["scenario"], file=folder / MANIFEST_FILE)
    if found != scenario:
        raise InputError(
            f"{folder / MANIFEST_FILE}: its scenario is {found!r}, but the folder's {scenario!r}. Import the data with "
            f"--scenario {scenario}, or rename the folder and name {found!r} in `scenarios` of params.yaml."
        )


def require_batches(train: pd.DataFrame, settings: Settings, scenario: str, *, folder: Path) -> None:
    """Refuses a group that has fewer training images than P x K, one batch of it."""
    names = order_groups(scenario, train["group"], file=folder / MANIFEST_FILE)
    stages = settings.homogeneous, settings.heterogeneous
    batch = max(stage.identities * stage.instances for stage in stages)
    for name in names:
        count = int((train["group"] == name).sum())
        if count < batch:
            raise InputError(
                f"{folder / MANIFEST_FILE}: group {name!r} has {count} training images, a batch has {batch} "
                "(identities x instances). Add images of split 'train', or lower `identities` or `instances` of "
                "homogeneous and heterogeneous in params.yaml."
            )
