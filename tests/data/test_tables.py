"""Training sees no identity, by construction; evaluation sees all; both agree on groups and pixels."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import itkm.data.training
from itkm.data.evaluation import load_evaluation
from itkm.data.groups import name_groups, order_groups
from itkm.data.images import load_images
from itkm.data.manifest import COLUMNS, write_manifest
from itkm.data.training import TRAINING_COLUMNS, TrainingImages, load_training, split_tables
from itkm.errors import InputError

Sound = tuple[Path, pd.DataFrame]
HIDDEN = set(COLUMNS) - set(TRAINING_COLUMNS)


def by_camera_and_path(frame: pd.DataFrame) -> pd.DataFrame:
    """The order of both tables."""
    return frame.sort_values(["camera", "path"], ignore_index=True)


@pytest.fixture
def tables(sound: Sound, tmp_path: Path) -> tuple[Path, Path]:
    """The two tables of stage `prepare`."""
    train, evaluation = split_tables(sound[1])
    train.to_parquet(tmp_path / "train.parquet", index=False)
    evaluation.to_parquet(tmp_path / "evaluation.parquet", index=False)
    return tmp_path / "train.parquet", tmp_path / "evaluation.parquet"


def test_the_training_table_ends_at_the_identities(sound: Sound) -> None:
    train, evaluation = split_tables(sound[1])
    assert tuple(train.columns) == TRAINING_COLUMNS
    assert not HIDDEN & set(train.columns)
    assert set(train["path"]) == set(sound[1].loc[sound[1]["split"] == "train", "path"])
    pd.testing.assert_frame_equal(evaluation, by_camera_and_path(sound[1]))


def test_the_tables_do_not_depend_on_the_order_of_the_manifest_and_agree(sound: Sound) -> None:
    train, evaluation = split_tables(sound[1])
    for table, again in zip((train, evaluation), split_tables(sound[1].sample(frac=1, random_state=0)), strict=True):
        pd.testing.assert_frame_equal(table, again)
    assert not sound[1]["path"].is_monotonic_increasing
    assert list(zip(train["camera"], train["path"], strict=True)) == sorted(
        zip(train["camera"], train["path"], strict=True)
    )
    assert evaluation.loc[evaluation["split"] == "train", "path"].tolist() == train["path"].tolist()


def test_training_images_match_the_table(sound: Sound, tables: tuple[Path, Path]) -> None:
    folder, frame = sound
    train = by_camera_and_path(frame[frame["split"] == "train"])
    loaded = load_training(tables[0], folder, height=32, width=16)
    assert loaded.paths.tolist() == train["path"].tolist()
    assert loaded.group_names == ("visible", "infrared")
    assert [loaded.group_names[code] for code in loaded.group] == train["group"].tolist()
    assert [loaded.camera_names[code] for code in loaded.camera] == train["camera"].tolist()
    assert loaded.group.dtype == loaded.camera.dtype == np.int64
    assert np.array_equal(loaded.images, load_images(train, folder, height=32, width=16))


def test_training_images_have_no_hidden_attribute() -> None:
    names = {field.name for field in dataclasses.fields(TrainingImages)} | set(dir(TrainingImages))
    assert not HIDDEN & names


@pytest.mark.parametrize("column", sorted(HIDDEN))
def test_a_training_table_with_a_hidden_column_is_refused(sound: Sound, tables: tuple[Path, Path], column: str) -> None:
    folder, frame = sound
    leaking = frame.loc[frame["split"] == "train", [*TRAINING_COLUMNS, column]]
    leaking.to_parquet(tables[0], index=False)
    with pytest.raises(InputError, match=rf"train\.parquet: columns that do not belong here: {column}"):
        load_training(tables[0], folder, height=32, width=16)


def test_an_identity_in_the_index_is_refused_too(sound: Sound, tables: tuple[Path, Path]) -> None:
    folder, frame = sound
    frame.set_index("person")[list(TRAINING_COLUMNS)].to_parquet(tables[0])
    with pytest.raises(InputError, match="do not belong here: person"):
        load_training(tables[0], folder, height=32, width=16)


def test_the_training_module_imports_nothing_of_evaluation() -> None:
    tree = ast.parse(Path(itkm.data.training.__file__).read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert "itkm.data.manifest" in imported
    assert "itkm.data.evaluation" not in imported


def test_evaluation_images_keep_labels_in_order(sound: Sound, tables: tuple[Path, Path]) -> None:
    folder, frame = sound
    loaded = load_evaluation(tables[1], folder, height=32, width=16, splits=("query", "gallery"))
    wanted = by_camera_and_path(frame[frame["split"].isin(["query", "gallery"])])
    assert loaded.paths.tolist() == wanted["path"].tolist()
    assert loaded.person.tolist() == wanted["person"].tolist()
    assert loaded.split.tolist() == wanted["split"].tolist()
    assert loaded.camera.tolist() == [int(name[1:]) for name in wanted["camera"]]  # the digits, as i0 and v1 ask alone
    assert len(load_evaluation(tables[1], folder, height=32, width=16).paths) == len(frame)


def test_groups_do_not_depend_on_the_splits_that_are_loaded(sound: Sound, tables: tuple[Path, Path]) -> None:
    query = load_evaluation(tables[1], sound[0], height=32, width=16, splits=["query"])
    assert query.group_names == ("visible", "infrared")
    assert set(query.group) == {1}


@pytest.mark.parametrize(
    ("scenario", "found", "order"),
    [
        ("vi", ["infrared", "visible"], ("visible", "infrared")),
        ("cc", ["outfit-b", "outfit-a"], ("outfit-a", "outfit-b")),
        ("cr", ["low", "high", "low"], ("high", "low")),
        ("vi", ["thermal", "rgb"], ("rgb", "thermal")),
        ("mine", ["visible", "infrared"], ("infrared", "visible")),
    ],
)
def test_the_order_of_groups(scenario: str, found: list[str], order: tuple[str, str]) -> None:
    assert order_groups(scenario, found, file=Path("x")) == order


@pytest.mark.parametrize("found", [[], ["visible"], ["a", "b", "c"]])
def test_other_than_two_groups_is_an_error_with_a_remedy(found: list[str]) -> None:
    with pytest.raises(InputError, match=r"scenario 'vi' has \d group.*expected exactly two.*--group"):
        order_groups("vi", found, file=Path("x"))


@pytest.mark.parametrize(
    ("found", "names"), [(["visible", "visible"], ("visible",)), (["infrared", "visible"], ("visible", "infrared"))]
)
def test_one_group_can_be_read(found: list[str], names: tuple[str, ...]) -> None:
    assert name_groups("vi", found, file=Path("x")) == names
    for wrong in ([], ["a", "b", "c"]):
        with pytest.raises(InputError, match=r"\d group.*expected exactly two"):
            name_groups("vi", wrong, file=Path("x"))


def test_a_set_of_one_group_is_evaluated_but_not_trained_on(sound: Sound, tmp_path: Path) -> None:
    folder, frame = sound
    train, evaluation = split_tables(frame.assign(group="visible"))
    train.to_parquet(tmp_path / "t.parquet", index=False)
    evaluation.to_parquet(tmp_path / "e.parquet", index=False)
    loaded = load_evaluation(tmp_path / "e.parquet", folder, height=32, width=16)
    assert loaded.group_names == ("visible",)
    assert set(loaded.group) == {0}
    with pytest.raises(InputError, match=r"1 group\(s\) \(visible\), expected exactly two.*scored, but not trained on"):
        load_training(tmp_path / "t.parquet", folder, height=32, width=16)


def test_two_scenarios_in_one_table_are_refused(sound: Sound, tmp_path: Path) -> None:
    folder, frame = sound
    mixed = frame.assign(scenario=["vi"] * (len(frame) - 1) + ["cc"])
    write_manifest(mixed, tmp_path)
    split_tables(mixed)[1].to_parquet(tmp_path / "e.parquet", index=False)
    with pytest.raises(InputError, match=r"rows of 2 scenarios \(cc, vi\)"):
        load_evaluation(tmp_path / "e.parquet", folder, height=32, width=16)
