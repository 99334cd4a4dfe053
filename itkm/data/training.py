"""What training code may see: images, scenario, group and camera - never an identity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from itkm.data.groups import codes, only_scenario, order_groups
from itkm.data.images import load_images
from itkm.data.manifest import COLUMNS, read_table

TRAINING_COLUMNS: tuple[str, ...] = ("path", "shard", "scenario", "group", "camera")


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """The training images of one scenario, decoded.

    Attributes:
        paths: str [N], member names.
        scenario: the scenario of all images.
        group: int64 [N], 0 or 1, the place in `group_names`.
        camera: int64 [N], the place in `camera_names`.
        images: uint8 [N, 3, height, width], RGB.
        group_names: names of group 0 and group 1.
        camera_names: names of the cameras, sorted.
    """

    paths: npt.NDArray[np.str_]
    scenario: str
    group: npt.NDArray[np.int64]
    camera: npt.NDArray[np.int64]
    images: npt.NDArray[np.uint8]
    group_names: tuple[str, str]
    camera_names: tuple[str, ...]


def load_training(table: Path, data: Path, *, height: int, width: int, workers: int = 2) -> TrainingImages:
    """Loads the training images of one scenario.

    Args:
        table: the training table `train.parquet`; it must have `TRAINING_COLUMNS` and no other column, so that no
            identity can slip in.
        data: the folder of the scenario, which holds the shards.
        height: pixels of the result.
        width: pixels of the result.
        workers: threads that decode.

    Raises:
        InputError: further or missing columns, several scenarios, not two groups, or an unreadable image.
    """
    rows = read_table(table, TRAINING_COLUMNS)
    scenario = only_scenario(rows["scenario"], file=table)
    group_names = order_groups(scenario, rows["group"], file=table)
    camera_names = tuple(sorted(rows["camera"].unique()))
    return TrainingImages(
        paths=rows["path"].to_numpy(dtype=np.str_),
        scenario=scenario,
        group=codes(rows["group"], group_names),
        camera=codes(rows["camera"], camera_names),
        images=load_images(rows, data, height=height, width=width, workers=workers),
        group_names=group_names,
        camera_names=camera_names,
    )


def split_tables(manifest: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cuts a manifest into the two tables of stage `prepare`.

    Returns:
        The training table: the rows of split `train` with `TRAINING_COLUMNS` only, where identities end. And the
        evaluation table: every row and column, as clusters of training images are judged by their hidden labels. Both
        are sorted by camera and path, as files often come person by person: so order tells nothing, and the n-th
        training image is the same in both.
    """
    ordered = manifest.sort_values(["camera", "path"], kind="stable")
    train = ordered.loc[ordered["split"] == "train", list(TRAINING_COLUMNS)]
    return train.reset_index(drop=True), ordered.loc[:, list(COLUMNS)].reset_index(drop=True)
