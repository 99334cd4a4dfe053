"""The manifest: what goes in comes out, and whatever breaks the schema is refused by row and column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from itkm.data.manifest import COLUMNS, Row, read_manifest, read_table, validated, write_manifest
from itkm.errors import InputError

MakeRow = Callable[..., dict[str, Any]]

SHARD = {"shard": "shards/c1.tar"}


def frame_of(make_row: MakeRow, **columns: list[Any]) -> pd.DataFrame:
    length = len(next(iter(columns.values())))
    rows = [make_row(path=f"c1/{number}.png") | SHARD for number in range(length)]
    return pd.DataFrame(rows).assign(**columns)


def test_round_trip_orders_columns_and_types(tmp_path: Path, make_row: MakeRow) -> None:
    frame = frame_of(make_row, person=[1, 2])
    write_manifest(frame[sorted(frame.columns)], tmp_path)
    back = read_manifest(tmp_path)
    assert tuple(back.columns) == COLUMNS
    assert {str(back[name].dtype) for name in ("person", "clothes")} == {"int64"}
    pd.testing.assert_frame_equal(back, frame[list(COLUMNS)], check_dtype=False)


def test_writing_twice_gives_the_same_bytes(tmp_path: Path, make_row: MakeRow) -> None:
    frame = frame_of(make_row, person=[1, 2])
    write_manifest(frame, tmp_path / "a")
    write_manifest(frame, tmp_path / "b")
    assert (tmp_path / "a/manifest.parquet").read_bytes() == (tmp_path / "b/manifest.parquet").read_bytes()


@pytest.mark.parametrize(
    ("column", "bad"),
    [
        ("path", "../secret.png"),
        ("path", "/absolute.png"),
        ("path", "c1/../../x.png"),
        ("path", "c1/.hidden.png"),
        ("path", "c1//x.png"),
        ("path", "c1\\x.png"),
        ("path", "c1/x\n.png"),
        ("path", ""),
        ("shard", "../other.tar"),
        ("shard", "shards/c1.zip"),
        ("camera", "cam 1"),
        ("camera", "../up"),
        ("scenario", ".."),
        ("group", ""),
        ("split", "test"),
        ("person", -2),
        ("person", 1.5),
        ("person", "7"),
        ("resolution", "64"),
        ("timestamp", "yesterday"),
        ("caption", None),
        ("source", float("nan")),
        ("source", "c1/\x1b[2J.png"),
    ],
)
def test_bad_values_are_named_by_row_and_column(make_row: MakeRow, column: str, bad: object) -> None:
    frame = frame_of(make_row, person=[1, 2, 3, 4])
    frame[column] = pd.Series([frame[column][0], bad, frame[column][2], bad], dtype=object)
    with pytest.raises(InputError, match=rf"some\.parquet: column '{column}'.*row 1 .*1, 3\.") as caught:
        validated(frame, COLUMNS, file=Path("some.parquet"))
    assert "expected" in str(caught.value)


@pytest.mark.parametrize("path", ["c1/0001.jpg", "c1/-1_c1s1_0.jpg", "a b/é+(2) [x].png", "x", "東京/駅.jpg"])
def test_names_of_real_files_are_accepted(make_row: MakeRow, path: str) -> None:
    assert Row.model_validate(make_row(path=path) | SHARD).path == path


@given(st.text(max_size=30))
def test_no_accepted_path_leaves_its_folder(path: str) -> None:
    values = dict.fromkeys(COLUMNS, "") | {"person": -1, "clothes": -1, "path": path, "shard": "a.tar"}
    names = {"scenario": "s", "group": "g", "camera": "c", "split": "train"}
    try:
        Row.model_validate(values | names)
    except ValidationError:
        return
    folder = Path("/some/folder")
    assert (folder / path).resolve().is_relative_to(folder)
    assert (folder / path).resolve() != folder


def test_missing_and_further_columns_are_named(tmp_path: Path, make_row: MakeRow) -> None:
    frame = frame_of(make_row, person=[1]).drop(columns="camera").assign(extra=1)
    with pytest.raises(InputError, match=r"missing columns: camera; columns that do not belong here: extra"):
        write_manifest(frame, tmp_path)
    assert not list(tmp_path.iterdir())


def test_missing_empty_and_damaged_files(tmp_path: Path, make_row: MakeRow) -> None:
    with pytest.raises(InputError, match="no manifest here"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match="cannot be read as parquet"):
        read_manifest(tmp_path)
    write_manifest(frame_of(make_row, person=[1]).head(0), tmp_path)
    with pytest.raises(InputError, match="no rows"):
        read_manifest(tmp_path)


def test_a_table_with_further_columns_is_refused_before_it_is_read(tmp_path: Path, make_row: MakeRow) -> None:
    write_manifest(frame_of(make_row, person=[1]), tmp_path)
    with pytest.raises(InputError, match=r"do not belong here: .*person"):
        read_table(tmp_path / "manifest.parquet", ("path", "shard"))
