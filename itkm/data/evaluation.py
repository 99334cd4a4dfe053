"""What evaluation may see: the images with their hidden labels. Only evaluation code imports this module."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from itkm.data.groups import codes, name_groups, only_scenario
from itkm.data.images import load_images
from itkm.data.manifest import COLUMNS, SPLITS, names_of, read_table


@dataclass(frozen=True, eq=False)
class EvaluationImages:
    """Images of one scenario with their labels, decoded.

    Attributes:
        paths: str [N], member names.
        source: str [N], the files' own names, whose order seeded draws go by; the member name where unknown.
        scenario: the scenario of all images.
        group: int64 [N], 0 or 1, the place in `group_names`.
        camera: int64 [N], the published number of the camera, see `camera_numbers`.
        images: uint8 [N, 3, height, width], RGB.
        person: int64 [N], -1 unknown, 0 distractor.
        clothes: int64 [N], -1 unknown.
        split: str [N], one of `SPLITS`.
        group_names: names of group 0 and group 1, or of the only group there is.
        camera_names: names of the cameras of the whole table, sorted.
    """

    paths: npt.NDArray[np.str_]
    source: npt.NDArray[np.str_]
    scenario: str
    group: npt.NDArray[np.int64]
    camera: npt.NDArray[np.int64]
    images: npt.NDArray[np.uint8]
    person: npt.NDArray[np.int64]
    clothes: npt.NDArray[np.int64]
    split: npt.NDArray[np.str_]
    group_names: tuple[str, ...]
    camera_names: tuple[str, ...]


def load_evaluation(
    table: Path, data: Path, *, height: int, width: int, splits: Sequence[str] = SPLITS, workers: int = 2
) -> EvaluationImages:
    """Loads the images of some splits with their labels.

    Args:
        table: the evaluation table `artifacts/hidden/<scenario>.parquet`, with every column of the manifest.
        data: the folder of the scenario, which holds the shards.
        height: pixels of the result.
        width: pixels of the result.
        splits: the splits to load; groups and cameras are numbered over the whole table whichever are chosen.
        workers: threads that decode.

    Raises:
        InputError: a bad table, several scenarios, more than two groups, or an unreadable image.
    """
    everything = read_table(table, COLUMNS)
    scenario = only_scenario(everything["scenario"], file=table)
    group_names = name_groups(scenario, everything["group"], file=table)
    camera_names = tuple(sorted(everything["camera"].unique()))
    chosen = everything["split"].isin(list(splits)).to_numpy()
    rows = everything[chosen]
    return EvaluationImages(
        paths=rows["path"].to_numpy(dtype=np.str_),
        source=names_of(rows),
        scenario=scenario,
        group=codes(rows["group"], group_names),
        camera=camera_numbers(everything)[chosen],
        images=load_images(rows, data, height=height, width=width, workers=workers),
        person=rows["person"].to_numpy(dtype=np.int64),
        clothes=rows["clothes"].to_numpy(dtype=np.int64),
        split=rows["split"].to_numpy(dtype=np.str_),
        group_names=group_names,
        camera_names=camera_names,
    )


def camera_numbers(table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """The number by which a protocol knows each image's camera, int64 [N].

    The digits that end a camera's name, where those of all cameras that are scored end in digits and these are distinct
    (`c1`, `cam06`); else the place of the name in their sorted list, from 1 (`A`, `B`, `C`). Cameras that only training
    sees come after them: a new one changes no score.

    Args:
        table: the columns `camera` and `split` of a whole table.
    """
    names = sorted(table["camera"].unique())
    scored = sorted(table.loc[table["split"] != "train", "camera"].unique()) or names
    endings = [re.search(r"[0-9]+$", name) for name in scored]
    numbers = [int(ending[0]) for ending in endings if ending is not None]
    if len(set(numbers)) != len(scored) or max(numbers, default=0) > np.iinfo(np.int64).max - len(names):
        numbers = list(range(1, len(scored) + 1))
    others = [name for name in names if name not in scored]
    last = max(numbers, default=0)
    numbers += range(last + 1, last + 1 + len(others))
    number_of = dict(zip([*scored, *others], numbers, strict=True))
    return table["camera"].map(number_of).to_numpy(dtype=np.int64)
