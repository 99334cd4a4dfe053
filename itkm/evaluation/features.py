"""Features with what is needed to judge them, and their file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from itkm.errors import InputError
from itkm.files import replacing

Labels = NDArray[np.int64]
Names = NDArray[np.str_]

_TINY = 1e-300
"""Below every norm but that of zeros, which so stay zeros."""

_DAMAGED = (
    ValueError,
    OSError,
    EOFError,
    AttributeError,
    TypeError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy raises of an archive that is cut off, changed, encrypted, or of something else than plain arrays."""


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """N features and the hidden labels of their images. For evaluation only: training code never holds one.

    Attributes:
        features: [N, D] float32, any norm; the cosine is what is compared.
        person: [N] int64, -1 = unknown, 0 = distractor where the protocol knows it.
        camera: [N] int64.
        clothes: [N] int64 outfit, -1 = unknown; None where there is no such label.
        scenario: [N] names; None where unknown. So are `group` and `path`.
        path: [N] the images' own file names, whose order seeded draws go by.
        flipped: [N, D] float32 features of the mirrored images; None where they were not extracted.

    Raises:
        InputError: lengths or types that do not fit, features that are not finite, or persons below -1.
    """

    features: NDArray[np.float32]
    person: Labels
    camera: Labels
    clothes: Labels | None = None
    scenario: Names | None = None
    group: Names | None = None
    path: Names | None = None
    flipped: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        _check_features("features", self.features)
        if self.flipped is not None:
            _check_features("flipped", self.flipped)
            if self.flipped.shape != self.features.shape:
                raise InputError(
                    f"flipped: expected the shape of features, {self.features.shape}, found {self.flipped.shape}. "
                    "Extract both from the same images with the same model."
                )
        for name in ("person", "camera", "clothes", "scenario", "group", "path"):
            self._check_column(name, getattr(self, name))
        if self.person.min(initial=-1) < -1:
            row = int(np.flatnonzero(self.person < -1)[0])
            raise InputError(
                f"person: row {row} is {self.person[row]}, expected 1 and up, 0 for a distractor or -1 where unknown."
            )

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

    def name_row(self, row: int) -> str:
        """A row as people find it: its number and, where known, its file."""
        return f"row {row}" if self.path is None else f"row {row} ({self.path[row]})"

    def unit_rows(self) -> NDArray[np.float32]:
        """The features [N, D] scaled to norm 1, so that a product is a cosine.

        Raises:
            InputError: a row of zeros, which has no direction.
        """
        self.require_directions()
        return _divided(self.features, _norms(self.features))

    def require_directions(self) -> None:
        """Refuses a row of zeros, of which a cosine says nothing.

        Raises:
            InputError: there is one.
        """
        zeros = np.flatnonzero(~self.features.any(axis=1))
        if zeros.size:
            raise InputError(
                f"features: {self.name_row(int(zeros[0]))} is all zeros ({zeros.size} such rows) and so has no "
                "direction to compare. Extract these images again, or leave them out."
            )

    def averaged(self) -> FeatureSet:
        """The same set with the mean of each image's and its mirror image's unit feature [field: PGM, ADCA].

        Raises:
            InputError: the mirrored images were not extracted.
        """
        if self.flipped is None:
            raise InputError(
                "no column `flipped`, the features of the mirrored images. Extract them too, or leave out --flip."
            )
        halves = [_divided(own, 2 * np.maximum(_norms(own), _TINY)) for own in (self.features, self.flipped)]
        return replace(self, features=halves[0] + halves[1], flipped=None)

    def save(self, path: Path) -> None:
        """Writes the `.npz` that `load` reads, atomically.

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
        with opened(path, expected="`features`, `person`, `camera`") as archive:
            columns: dict[str, Any] = {
                field.name: archive[field.name] for field in fields(cls) if field.name in archive
            }
        missing = [name for name in ("features", "person", "camera") if name not in columns]
        if missing:
            raise InputError(
                f"{path}: no column {', '.join(missing)}. Expected features [N, D], person [N] and camera [N]."
            )
        try:
            return cls(**{name: widened(name, np.asarray(values)) for name, values in columns.items()})
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def scored_part(arrays: Mapping[str, NDArray[Any]], model: str, part: str) -> FeatureSet:
    """One model's features of what was asked or shown; by the files' own names, as seeded draws go by their order.

    Args:
        arrays: of `artifacts/evaluation/<scenario>.npz`.
        model: `zero_shot`, `homogeneous` or `heterogeneous`.
        part: `query` or `gallery`.
    """
    columns = {name: arrays[f"{part}_{name}"] for name in ("person", "camera", "clothes")}
    return FeatureSet(arrays[f"{model}_{part}"], **columns, path=arrays[f"{part}_source"])


@contextmanager
def opened(path: Path, *, expected: str) -> Iterator[NpzFile]:
    """A `.npz`, whose columns are read within the block, without any pickle.

    Args:
        path: of the file.
        expected: its columns, for errors.

    Raises:
        InputError: no such file, not such a file, or a column that cannot be read.
    """
    written = f"what `itkm embed IMAGES --out F.npz` or numpy.savez writes, with {expected}"
    try:
        _require_archive(path, written)
        with np.load(path, allow_pickle=False) as archive:
            yield archive
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file. Write one with `itkm embed IMAGES --out {path}`.") from error
    except _DAMAGED as error:
        raise InputError(f"{path}: not a readable .npz of plain arrays ({error}). Expected {written}.") from error


def _require_archive(path: Path, written: str) -> None:
    """Refuses a file of another kind: of these, numpy says how to load them unsafely."""
    with path.open("rb") as stream:
        if stream.read(2) != b"PK":
            raise InputError(f"{path}: not a readable .npz, but a file of another kind. Expected {written}.")


def _check_features(name: str, values: NDArray[np.generic]) -> None:
    """A matrix of finite floats."""
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.floating):
        raise InputError(
            f"{name}: expected a matrix [N, D] of floats, found shape {values.shape} of {values.dtype}. Write one row "
            "per image."
        )
    bad_rows = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if bad_rows.size:
        raise InputError(
            f"{name}: row {bad_rows[0]} is not finite ({bad_rows.size} such rows). Find the images whose features are "
            "NaN or infinite and extract them again."
        )


def widened(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Half or double floats become float32, other integers int64; anything else is left to the checks.

    Raises:
        InputError: an integer that int64 cannot hold.
    """
    if np.issubdtype(values.dtype, np.floating):
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
            return values.astype(np.float32, copy=False)
    if not np.issubdtype(values.dtype, np.integer):
        return values
    too_large = np.flatnonzero(values > np.iinfo(np.int64).max)
    if too_large.size:
        row = int(too_large[0])
        raise InputError(f"{name}: row {row} is {values[row]}, more than int64 holds. Number from 1, or from 0.")
    return values.astype(np.int64, copy=False)


def _norms(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """[N] norms; in double precision, in which no float32 overflows and only zeros give zero."""
    return np.asarray(np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64)))


def _divided(features: NDArray[np.float32], divisors: NDArray[np.float64]) -> NDArray[np.float32]:
    """Each row by its divisor, without a matrix of doubles in between."""
    return np.divide(features, divisors[:, None], out=np.empty_like(features, dtype=np.float32), casting="same_kind")
