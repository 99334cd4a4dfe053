"""Which images are meant, and what is known of them: files, folders of files, or an imported scenario."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from itkm.data.evaluation import camera_numbers
from itkm.data.groups import only_scenario
from itkm.data.images import Encoded, packed_images
from itkm.data.importers.source import image_files
from itkm.data.manifest import MANIFEST_FILE, names_of, read_manifest
from itkm.errors import InputError


@dataclass(frozen=True, eq=False)
class Images:
    """Images that are not yet read.

    Attributes:
        encoded: [N] what errors call each, and what reads it.
        labels: columns [N] of `FeatureSet` beside the features.
        data: the folder in which `path` is found: of the scenario, or that to which files are relative.
    """

    encoded: Sequence[Encoded]
    labels: Mapping[str, NDArray[Any]]
    data: Path


def is_scenario(path: Path) -> bool:
    """Whether a path is a folder as `itkm data import` leaves it."""
    return (path / MANIFEST_FILE).is_file()


def list_files(paths: Sequence[Path], scenario: str, group: str) -> Images:
    """Image files, and those of whole folders: sorted, without hidden ones; nothing but their names is known.

    Raises:
        InputError: no such file, a folder without images, or a link that leads out of its folder.
    """
    files = [file for path in paths for file in _files_of(path)]
    unknown = {"person": np.full(len(files), -1), "camera": np.zeros(len(files), dtype=np.int64)}
    views = {"scenario": np.full(len(files), scenario), "group": np.full(len(files), group)}
    names = np.array([str(file) for file in files])
    return Images(
        [(str(file), partial(read_file, file)) for file in files], {**unknown, **views, "path": names}, Path()
    )


def read_file(file: Path) -> bytes:
    """The content of an image file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}). Give an image file or a folder.") from error


def list_scenario(folder: Path, splits: Sequence[str]) -> Images:
    """The images of a scenario's manifest, with the labels that stand there; see `read_rows`."""
    rows = read_rows(folder, splits)
    return Images(packed_images(rows, folder), labels_of(rows), folder)


def read_rows(folder: Path, splits: Sequence[str]) -> pd.DataFrame:
    """The rows of a scenario's manifest, of some splits or, where none is named, of all.

    Raises:
        InputError: an unusable manifest, several scenarios in it, or no row of these splits.
    """
    frame = read_manifest(folder)
    only_scenario(frame["scenario"], file=folder / MANIFEST_FILE)
    frame = frame.assign(camera=camera_numbers(frame))
    rows = frame[frame["split"].isin(list(splits))] if splits else frame
    if rows.empty:
        found = ", ".join(sorted(frame["split"].unique()))
        raise InputError(f"{folder}: no image of split {', '.join(splits)}. Choose among {found} with --split.")
    return rows.reset_index(drop=True)


def labels_of(rows: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """What a manifest's rows, as `read_rows` gives them, say of their images: columns of `FeatureSet`."""
    names = {name: rows[name].to_numpy(dtype=np.str_) for name in ("scenario", "group")}
    numbers = {name: rows[name].to_numpy(dtype=np.int64) for name in ("person", "camera", "clothes")}
    return {**numbers, **names, "path": names_of(rows)}


def _files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = list(image_files(path, root=path))
    if not files:
        raise InputError(f"{path}: no image in this folder. Give image files, or a folder that has some.")
    return files
