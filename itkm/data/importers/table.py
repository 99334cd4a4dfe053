"""A user's own table, csv or parquet: one line per image.

Columns
    Required: `path` (an image file, relative to the table's folder), `group`, `camera`.
    Optional: split (train), person (-1), clothes (-1), resolution, timestamp, caption, source, scenario; the default
    where the column is missing or its cell empty. The default of `source` is the path.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pydantic import ValidationError

from itkm.data.importers.source import UNKNOWN, Format, Listing, Request, SourceImage, readable, require_inside
from itkm.data.manifest import COLUMNS, Row, describe
from itkm.errors import InputError

REQUIRED = ("path", "group", "camera")
ALLOWED = tuple(name for name in COLUMNS if name != "shard")
SHOWN_LINES = 10

Line = tuple[str, Mapping[str, object]]  # what an error calls it, and its cells


def list_table(request: Request) -> Listing:
    """Lists the images that a `.csv` or `.parquet` file names.

    Raises:
        InputError: unreadable table, missing or unknown columns, or rows that break the schema (names the first 10).
    """
    source = request.source
    lines = _csv_lines(source) if source.suffix.lower() == ".csv" else _parquet_lines(source)
    images: list[SourceImage] = []
    faults: list[str] = []
    listed: dict[Path, str] = {}
    for where, cells in lines:
        try:
            image = _image(source, where, cells, scenario=request.scenario)
            if image.file in listed:
                raise InputError(f"{image.where}: the same file as {listed[image.file]}, expected each file once")
        except InputError as error:
            faults.append(str(error))
        else:
            listed[image.file] = where
            images.append(image)
    if faults:
        more = f"\nand {len(faults) - SHOWN_LINES} more" if len(faults) > SHOWN_LINES else ""
        raise InputError("\n".join(faults[:SHOWN_LINES]) + f"{more}\nCorrect these rows and import again.")
    return Listing(images)


def _image(source: Path, where: str, cells: Mapping[str, object], *, scenario: str) -> SourceImage:
    given = {name: _plain(value) for name, value in cells.items() if not _is_empty(value)}
    missing = [name for name in REQUIRED if name not in given]
    if missing:
        raise InputError(f"{where}: {', '.join(missing)} is empty")
    defaults = {**UNKNOWN, "scenario": scenario, "source": given["path"], "shard": "unnamed.tar"}
    try:
        row = Row.model_validate({**defaults, **given})
    except ValidationError as error:
        raise InputError(f"{where}: {describe(error)}") from error
    if row.scenario != scenario:
        raise InputError(f"{where}: scenario is {row.scenario!r}, expected {scenario!r} as given by --scenario")
    file = require_inside(source.parent / row.path, root=source.parent)
    return SourceImage(file, row.model_dump(exclude={"path", "shard"}), where=f"{where} ({row.path})")


def _csv_lines(source: Path) -> Iterator[Line]:
    try:
        # A spreadsheet may add a byte-order mark.
        with readable(source), source.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            _require_columns(source, reader.fieldnames or [])
            for cells in reader:
                where = f"{source} line {reader.line_num}"
                if None in cells:
                    raise InputError(f"{where}: more cells than columns. Quote cells that contain a comma.")
                yield where, cells
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{source}: cannot be read as csv ({error}). Expected UTF-8 with commas; save it so."
        ) from error


def _parquet_lines(source: Path) -> Iterator[Line]:
    try:
        frame = pd.read_parquet(source)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{source}: cannot be read as parquet ({error}). Expected a .csv or .parquet file.") from error
    _require_columns(source, list(map(str, frame.columns)))
    for number, cells in enumerate(frame.to_dict("records")):
        yield f"{source} row {number}", {str(name): value for name, value in cells.items()}


def _require_columns(source: Path, found: Sequence[str]) -> None:
    missing = [name for name in REQUIRED if name not in found]
    unknown = [name for name in found if name not in ALLOWED]
    if missing or unknown:
        raise InputError(
            f"{source}: columns {', '.join(found) or 'none'}; missing: {', '.join(missing) or 'none'}, unknown: "
            f"{', '.join(unknown) or 'none'}. Required are {', '.join(REQUIRED)}; known are {', '.join(ALLOWED)}."
        )


def _is_empty(value: object) -> bool:
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or value is pd.NA or value is pd.NaT or value == ""


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


FORMAT = Format(
    name="manifest",
    description="any person crops that a csv or parquet table names",
    layout="columns path, group, camera; optional split, person, clothes, resolution, timestamp, caption, source",
    licence="your own",
    read=list_table,
    source_is_file=True,
    own_groups=True,
)
