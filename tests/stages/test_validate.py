"""Stage `validate`: findings are written for people and programs, and errors stop the pipeline."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from itkm.config import FeedSettings, Settings
from itkm.data.shards import write_scenario
from itkm.errors import InputError
from itkm.stages import validate
from itkm.stages.layout import Layout
from tiny import make_crop, scenario_rows

WriteTiny = Callable[..., pd.DataFrame]

SETTINGS = Settings(scenarios=("mine",))


def test_sound_data_are_accepted_with_warnings(
    tmp_path: Path, write_tiny: WriteTiny, caplog: pytest.LogCaptureFixture
) -> None:
    layout = Layout(tmp_path)
    write_tiny(layout.data("mine"))  # 32 and 16 images: few, and none to evaluate with
    with caplog.at_level("INFO"):
        validate.run(SETTINGS, layout, "mine")
    report = json.loads(layout.validation("mine").read_text())
    assert report["scenario"] == "mine"
    assert report["accepted"] is True
    rules = [finding["rule"] for finding in report["findings"]]
    assert "training-images" in rules
    ours = (record for record in caplog.records if record.name.startswith("itkm"))
    assert sum(record.levelname == "WARNING" for record in ours) == len(rules)


def test_an_unreadable_image_stops_the_pipeline(tmp_path: Path, write_tiny: WriteTiny) -> None:
    layout = Layout(tmp_path)
    path = write_tiny(layout.data("mine"))["path"][0]
    shard = layout.data("mine") / "shards" / "c1.tar"
    shard.write_bytes(shard.read_bytes().replace(b"\xff\xd8\xff", b"\x00\x00\x00", 1))
    row = f"row 0 ({path} from c1/0001.jpg)"
    with pytest.raises(InputError, match=rf"\[decodable\] 1 images cannot be read.* Rows: {re.escape(row)}") as caught:
        validate.run(SETTINGS, layout, "mine")
    assert str(layout.validation("mine")) in str(caught.value)
    report = json.loads(layout.validation("mine").read_text())
    assert report["accepted"] is False
    assert report["findings"][0]["rows"] == [row]


def test_a_manifest_with_a_further_column_stops_the_pipeline(tmp_path: Path, write_tiny: WriteTiny) -> None:
    layout = Layout(tmp_path)
    manifest = write_tiny(layout.data("mine"))
    manifest.assign(identity=1).to_parquet(layout.data("mine") / "manifest.parquet", index=False)
    with pytest.raises(InputError, match=r"\[schema\] .*columns that do not belong here: identity"):
        validate.run(SETTINGS, layout, "mine")


def test_every_group_is_judged_as_a_feed_is(tmp_path: Path, write_tiny: WriteTiny) -> None:
    layout = Layout(tmp_path)
    write_tiny(layout.data("mine"))
    validate.run(SETTINGS, layout, "mine")
    first = layout.validation("mine").read_bytes()
    checks = json.loads(first)["checks"]
    assert set(checks) == {"day", "night"}
    for own in checks.values():
        assert {check["name"]: check["passed"] for check in own if check["severity"] == "critical"} == dict.fromkeys(
            ("schema", "images", "decodable", "width", "height", "copies", "evaluation_overlap"), True
        )
    validate.run(SETTINGS, layout, "mine")
    assert layout.validation("mine").read_bytes() == first  # DVC compares the bytes


def test_a_critical_check_stops_the_pipeline(tmp_path: Path, write_tiny: WriteTiny) -> None:
    layout = Layout(tmp_path)
    write_tiny(layout.data("mine"))
    strict = SETTINGS.model_copy(update={"feeds": FeedSettings(min_images=20)})
    with pytest.raises(
        InputError, match=r"\[images\] group night: There are enough images: 16 files; at least 20 files"
    ):
        validate.run(strict, layout, "mine")
    assert json.loads(layout.validation("mine").read_text())["accepted"] is False


def test_a_training_image_by_which_models_are_judged_stops_the_pipeline(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    rows = list(scenario_rows("mine"))
    judged = ({**rows[0][0], "split": "validation", "person": -1}, rows[0][1])
    path = write_scenario([*rows, judged], layout.data("mine"))["path"][0]
    with pytest.raises(InputError, match=rf"\[evaluation_overlap\] group day: .*Images: {re.escape(path)}\."):
        validate.run(SETTINGS, layout, "mine")


def test_a_warning_is_logged_and_does_not_stop(
    tmp_path: Path, write_tiny: WriteTiny, caplog: pytest.LogCaptureFixture
) -> None:
    layout = Layout(tmp_path)
    write_tiny(layout.data("mine"))
    with caplog.at_level("WARNING"):
        validate.run(SETTINGS.model_copy(update={"feeds": FeedSettings(brightness={"default": 255.0})}), layout, "mine")
    assert any("[dark] group" in record.getMessage() for record in caplog.records)
    assert json.loads(layout.validation("mine").read_text())["accepted"] is True


def test_copies_among_the_images_that_are_judged_by_stop_nothing(tmp_path: Path) -> None:
    """A query image often stands in the gallery too: so the data set was published."""
    layout = Layout(tmp_path)
    rows = list(scenario_rows("mine"))
    judged = [
        ({**row, "split": split, "person": 99}, make_crop(99, 1)) for row, _ in rows[:1] for split in ("gallery",) * 3
    ]
    night = next(row for row, _ in rows if row["group"] == "night")
    judged.append(({**night, "split": "query", "person": 99}, make_crop(99, 2)))
    write_scenario([*rows, *judged], layout.data("mine"))
    validate.run(SETTINGS, layout, "mine")
    report = json.loads(layout.validation("mine").read_text())
    assert report["accepted"] is True
    assert "duplicates" in {finding["rule"] for finding in report["findings"]}
