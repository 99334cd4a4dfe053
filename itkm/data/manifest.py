"""The manifest: one row per image, the same columns for every data set. `Row` states the schema once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, Literal, cast, get_args, get_type_hints

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from itkm.errors import InputError
from itkm.files import replacing

MANIFEST_FILE = "manifest.parquet"
SHOWN_ROWS = 5
RENDERED = "rendered/"  # begins the `source` of a person who does not exist; no importer writes it

# A part of a path never starts with a dot: that excludes "..", "." and hidden files with one rule.
_PART = r"[\w()+@=~&#,\[\]-][\w()+@=~&#,\[\] .-]*"
_PATH = rf"^{_PART}(/{_PART})*$"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_SHARD = rf"^({_PART}/)*{_PART}\.tar$"
_TIMESTAMP = r"^(\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?)?$"
_NAME_WORDS = "a name of ASCII letters, digits and '_.-' that starts with a letter or digit"

Split = Literal["train", "validation", "query", "gallery"]
SPLITS: tuple[str, ...] = get_args(Split)

Name = Annotated[str, Field(pattern=_NAME, max_length=64, description=_NAME_WORDS)]
_NAMES: TypeAdapter[str] = TypeAdapter(Name)
Member = Annotated[
    str,
    Field(
        pattern=_PATH,
        max_length=400,
        description="a relative path with '/' between its parts, without '..', hidden parts or control characters",
    ),
]
Shard = Annotated[str, Field(pattern=_SHARD, max_length=400, description="a relative path that ends in '.tar'")]
Identity = Annotated[int, Field(ge=-1, lt=2**63, description="a whole number: 1 and up, 0 distractor, -1 unknown")]
Outfit = Annotated[int, Field(ge=-1, lt=2**63, description="a whole number from 0, or -1 where unknown")]
Resolution = Annotated[
    str, Field(pattern=r"^([1-9]\d*x[1-9]\d*)?$", description="WIDTHxHEIGHT such as '64x128', or ''")
]
Timestamp = Annotated[str, Field(pattern=_TIMESTAMP, description="ISO 8601 such as '2024-05-31T16:20:00Z', or ''")]
Source = Annotated[
    str,
    Field(
        pattern=r"^[^\x00-\x1f\x7f-\x9f]*$",
        max_length=2000,
        description="a file's name of at most 2000 characters without control characters, or ''",
    ),
]
Text = Annotated[str, Field(max_length=2000, description="text of at most 2000 characters, or ''")]


class Row(BaseModel):
    """One image of the manifest.

    `path` is the member name, made of the content; `source` is the file's own name, which may tell the person.
    Therefore `path` goes to training and `source` does not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Member
    shard: Shard
    scenario: Name
    group: Name
    camera: Name
    split: Annotated[Split, Field(description=f"one of {', '.join(SPLITS)}")]
    person: Identity
    clothes: Outfit
    resolution: Resolution
    timestamp: Timestamp
    caption: Text
    source: Source


COLUMNS: tuple[str, ...] = tuple(Row.model_fields)
_HINTS: dict[str, Any] = get_type_hints(Row, include_extras=True)
# One validator a column, over a list: it takes a column's distinct values at once, so 100,000 rows cost little.
_VALIDATORS: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(cast(Any, GenericAlias(list, (_HINTS[name],))), config=ConfigDict(strict=True))
    for name in COLUMNS
}


def read_manifest(folder: Path) -> pd.DataFrame:
    """Reads and validates `folder`/manifest.parquet.

    Returns:
        A frame with the columns `COLUMNS` in that order: `person` and `clothes` int64, all others str.

    Raises:
        InputError: the manifest is missing, empty or not parquet, or a row breaks the schema of `Row`.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise InputError(
            f"{path}: no manifest here. Expected a scenario folder as `itkm data import FORMAT PATH --scenario S "
            f"--out {folder}` writes it; import the data or, in a fresh clone, run `dvc pull`."
        )
    frame = read_table(path, COLUMNS)
    if frame.empty:
        raise InputError(f"{path}: no rows, expected one per image. Import the data again.")
    return frame


def write_manifest(frame: pd.DataFrame, folder: Path) -> None:
    """Validates `frame` and writes it to `folder`/manifest.parquet atomically.

    Raises:
        InputError: a row breaks the schema of `Row`, or the folder cannot be written.
    """
    path = folder / MANIFEST_FILE
    valid = validated(frame, COLUMNS, file=path)
    with replacing(path) as temporary:
        valid.to_parquet(temporary, index=False)


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Reads a parquet table that has exactly `columns`, a selection of the manifest's, and validates it.

    Raises:
        InputError: missing or unreadable file, missing or further columns, or a bad value.
    """
    try:
        found = set(pq.read_schema(path).names)
        if found == set(columns):
            return validated(pd.read_parquet(path, columns=list(columns)), columns, file=path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read as parquet ({error}). Write it again.") from error
    raise InputError(_columns_message(path, found=found, expected=columns))


def validated(frame: pd.DataFrame, columns: tuple[str, ...], *, file: Path) -> pd.DataFrame:
    """A copy of `frame` with exactly `columns`, in order and with their types, every value valid.

    Args:
        frame: rows to check; the order of its columns and its index do not matter.
        columns: a selection of the manifest's columns.
        file: named in errors.

    Raises:
        InputError: missing or further columns, or a bad value; names the first rows, counted from 0.
    """
    if set(frame.columns) != set(columns):
        raise InputError(_columns_message(file, found=set(frame.columns), expected=columns))
    for name in columns:
        _require_valid(frame[name], name, file=file)
    return frame[list(columns)].reset_index(drop=True).astype({name: _dtype(name) for name in columns})


def expected(column: str) -> str:
    """What the manifest expects in `column`, in words."""
    return Row.model_fields[column].description or ""


def is_name(text: str) -> bool:
    """Whether a camera, scenario or group may be called so: files are named by it."""
    try:
        _NAMES.validate_python(text)
    except ValidationError:
        return False
    return True


def describe(error: ValidationError) -> str:
    """The faults of one row in words: column, value, and what was expected."""
    return "; ".join(_describe_fault(fault) for fault in error.errors())


def name_image(path: str, source: str) -> str:
    """An image as people find it: its path and the file that it was."""
    return f"{path} from {source}" if source else path


def names_of(rows: pd.DataFrame) -> NDArray[np.str_]:
    """The name under which people know each image: that of its file, else its path in the manifest."""
    return np.where(rows["source"] == "", rows["path"], rows["source"]).astype(np.str_)


def name_rows(names: Iterable[str], *, shown: int = SHOWN_ROWS) -> str:
    """The first few of `names`, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - shown} more" if len(listed) > shown else ""
    return ", ".join(listed[:shown]) + more


def _describe_fault(fault: ErrorDetails) -> str:
    column = str(fault["loc"][0])
    if fault["type"] == "extra_forbidden":
        return f"unknown column {column!r}; known are {', '.join(COLUMNS)}"
    if fault["type"] == "missing":
        return f"{column} is missing, expected {expected(column)}"
    return f"{column} is {fault['input']!r}, expected {expected(column)}"


def _require_valid(values: pd.Series[Any], column: str, *, file: Path) -> None:
    codes, distinct = pd.factorize(values, use_na_sentinel=False)
    plain = [value.item() if isinstance(value, np.generic) else value for value in distinct.tolist()]
    try:
        _VALIDATORS[column].validate_python(plain)
    except ValidationError as error:
        bad = [int(fault["loc"][0]) for fault in error.errors()]
        rows = np.flatnonzero(np.isin(codes, bad))
        raise InputError(
            f"{file}: column {column!r} is {plain[bad[0]]!r} in row {rows[0]} (rows count from 0), "
            f"expected {expected(column)}. Rows to correct: {name_rows(map(str, rows))}."
        ) from error


def _dtype(column: str) -> str:
    return "int64" if column in ("person", "clothes") else "str"


def _columns_message(file: Path, *, found: set[str], expected: tuple[str, ...]) -> str:
    missing = [name for name in expected if name not in found]
    further = sorted(map(str, found - set(expected)))
    parts = [f"missing columns: {', '.join(missing)}"] * bool(missing) + [
        f"columns that do not belong here: {', '.join(further)}"
    ] * bool(further)
    return f"{file}: {'; '.join(parts)}. Expected exactly {', '.join(expected)}."
