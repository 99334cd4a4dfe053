"""Features with what is needed to judge them, and their file."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from itkm.errors import InputError
from itkm.files import replacing

Labels = NDArray[np.int64]
Names = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """N features and the hidden labels of their images. For evaluation only: training code never holds one.

    Attributes:
        features: [N, D] float32, any norm; the cosine is what is compared.
        person: [N] int64, -1 = unknown, 0 = distractor where the protocol knows it.
        camera: [N] int64.
        clothes: [N] int64 outfit, -1 = unknown; None where there is no such label.
        scenario: [N] names; None where unknown. So are `group` and `path`.

    Raises:
        InputError: lengths or types that do not fit, or features that are not finite.
    """

    features: NDArray[np.float32]
    person: Labels
    camera: Labels
    clothes: Labels | None = None
    scenario: Names | None = None
    group: Names | None = None
    path: Names | None = None

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or not np.issubdtype(self.features.dtype, np.floating):
            raise InputError(
                f"features: expected a matrix [N, D] of floats, found shape {self.features.shape} of "
                f"{self.features.dtype}. Write one row per image."
            )
        bad_rows = np.flatnonzero(~np.isfinite(self.features).all(axis=1))
        if bad_rows.size:
            raise InputError(
                f"features: row {bad_rows[0]} is not finite ({bad_rows.size} such rows). Find the images whose "
                "features are NaN or infinite and extract them again."
            )
        for name in ("person", "camera", "clothes", "scenario", "group", "path"):
            self._check_column(name, getattr(self, name))

    def _check_column(self, name: str, values: NDArray[np.generic] | None) -> None:
        """One value of the right type per feature."""
        if values is None:
            return
        kind = np.integer if name in ("person", "camera", "clothes") else np.str_
        if values.shape != (len(self.features),) or not np.issubdtype(values.dtype, kind):
            raise InputError(
                f"{name}: expected {len(self.features)} values of {kind.__name__}, one per feature, found shape "
                f"{values.shape} of {values.dtype}."
            )

    def __len__(self) -> int:
        return len(self.features)

    def rows(self, chosen: NDArray[np.bool_] | Labels) -> FeatureSet:
        """The same set with the chosen rows alone: a boolean mask [N] or row numbers."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        part: dict[str, Any] = {name: None if values is None else values[chosen] for name, values in columns.items()}
        return FeatureSet(**part)

    def save(self, path: Path) -> None:
        """Writes the `.npz` that `itkm embed` writes, atomically.

        Raises:
            InputError: the folder cannot be written.
        """
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        with replacing(path) as temporary, temporary.open("wb") as target:
            np.savez(target, **{name: values for name, values in columns.items() if values is not None})

    @classmethod
    def load(cls, path: Path) -> FeatureSet:
        """Reads a `.npz` of features; columns that we do not know are ignored. Executes nothing (no pickle).

        Raises:
            InputError: no such file, not such a file, a column that is missing or does not fit.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                columns: dict[str, Any] = {
                    field.name: _widened(archive[field.name]) for field in fields(cls) if field.name in archive
                }
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file. Write one with `itkm embed IMAGES --out {path}`.") from error
        except (ValueError, OSError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path}: not a readable .npz of plain arrays ({error}). Expected what numpy.savez writes with "
                "`features`, `person`, `camera`."
            ) from error
        missing = [name for name in ("features", "person", "camera") if name not in columns]
        if missing:
            raise InputError(
                f"{path}: no column {', '.join(missing)}. Expected features [N, D], person [N] and camera [N]."
            )
        try:
            return cls(**columns)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def _widened(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Half or double floats become float32, narrow integers int64; anything else is left to the checks."""
    if np.issubdtype(values.dtype, np.floating):
        return values.astype(np.float32)
    return values.astype(np.int64) if np.issubdtype(values.dtype, np.integer) else values
