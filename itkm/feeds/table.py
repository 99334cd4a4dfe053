"""A csv or parquet table that lists crops, one a row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from itkm.data.manifest import expected, is_name
from itkm.data.shards import MAX_MEMBER_BYTES
from itkm.errors import InputError
from itkm.feeds.quarantine import Fault, fault_of_name
from itkm.feeds.staging import Staging

SUFFIXES = frozenset({".csv", ".parquet"})
REQUIRED = ("path",)
OPTIONAL = ("camera", "timestamp", "tracklet")


def copy_listed(file: Path, staging: Staging) -> None:
    """Copies the crops that a table lists, which are only read.

    A path that leads out of the table's folder, to a link, or nowhere is noted, and not read.

    Args:
        file: columns `path` (relative to the table's folder) and, if known, `camera`, `timestamp` (ISO 8601, UTC where
            it names no zone) and `tracklet` (a whole number).
        staging: gets the crops.

    Raises:
        InputError: an unusable table, or a cell that is no camera or tracklet.
        OSError: a crop cannot be written.
    """
    table = read_table(file)
    cameras = {camera for camera in table["camera"].unique() if camera == "" or is_name(camera)}
    _require(table["camera"].isin(cameras), table["camera"], file, wanted=expected("camera"))
    whole = table["tracklet"].str.fullmatch(r"(-1|\d{1,18})?")
    _require(whole, table["tracklet"], file, wanted="a whole number")
    table["path"] = table["path"].str.removeprefix("./")
    for path, camera, timestamp, tracklet in table.itertuples(index=False, name=None):
        content, fault = _read(file.parent, path)
        staging.add(
            path, content, fault=fault, camera=camera, timestamp=timestamp, tracklet=int(tracklet) if tracklet else -1
        )


def read_table(file: Path) -> pd.DataFrame:
    """The table with the columns `REQUIRED` and `OPTIONAL`, all str, "" where unknown.

    Raises:
        InputError: not a csv or parquet file, missing or unknown columns, or no row.
    """
    if file.suffix.lower() == ".csv":
        return read_csv(file, required=REQUIRED, optional=OPTIONAL)
    try:
        table = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as parquet ({error}). Write it again.") from error
    text = pd.DataFrame({str(name): table[name].astype("string").fillna("").astype("str") for name in table.columns})
    return _completed(text, file, required=REQUIRED, optional=OPTIONAL)


def read_csv(file: Path, *, required: Sequence[str], optional: Sequence[str]) -> pd.DataFrame:
    """A csv with these columns, all str; "" in the optional ones that it lacks.

    Raises:
        InputError: not a csv file, missing or unknown columns, more cells than columns, or no row.
    """
    try:
        table = pd.read_csv(file, dtype="str", keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as csv ({error}). Expected UTF-8 with commas; save it so.") from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas made an index of the first column, and shifted the others
        raise InputError(
            f"{file}: more cells in its first line than columns. Quote cells that contain a comma, or remove the last."
        )
    return _completed(table, file, required=required, optional=optional)


def _completed(table: pd.DataFrame, file: Path, *, required: Sequence[str], optional: Sequence[str]) -> pd.DataFrame:
    missing = [name for name in required if name not in table]
    unknown = [str(name) for name in table.columns if name not in (*required, *optional)]
    if missing or unknown:
        raise InputError(
            f"{file}: columns {', '.join(map(str, table.columns)) or 'none'}; missing: {', '.join(missing) or 'none'}, "
            f"unknown: {', '.join(unknown) or 'none'}. Required are {', '.join(required)}; known are "
            f"{', '.join((*required, *optional))}."
        )
    if table.empty:
        raise InputError(f"{file}: no row. Expected one per crop.")
    return table.reindex(columns=[*required, *optional], fill_value="")


def _require(good: pd.Series[bool], cells: pd.Series[str], file: Path, *, wanted: str) -> None:
    if not good.all():
        row = int(good.to_numpy().argmin())
        raise InputError(
            f"{file} row {row}: {cells.name} is {cells.iloc[row]!r}, expected {wanted}; {int((~good).sum())} rows have "
            "such (rows count from 0). Correct them."
        )


def _read(folder: Path, path: str) -> tuple[bytes | None, Fault | None]:
    """The content of a listed file, or why it is not read."""
    if fault := fault_of_name(path):
        return None, fault
    file = folder / path
    if not file.resolve().is_relative_to(folder.resolve()) or file.is_symlink():
        return None, Fault("link", f"{path}: a link, or behind one. Put the file itself below {folder}.")
    if not file.is_file():
        return None, Fault("missing", f"{path}: no such file below {folder}. Correct the row or deliver the file.")
    size = file.stat().st_size
    if size > MAX_MEMBER_BYTES:
        return None, Fault("size", f"{path}: {size:,} bytes, expected at most {MAX_MEMBER_BYTES:,}. Deliver crops.")
    try:
        return file.read_bytes(), None
    except OSError as error:
        return None, Fault("unreadable", f"{path}: cannot be read ({error.strerror}). Change its owner or mode.")
