"""The checker: silent on sound data, and each planted fault is found with its rows."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from itkm.data.check import Finding, check_dataset, check_positives
from itkm.data.manifest import read_manifest, write_manifest
from itkm.data.shards import ShardReader, ShardWriter, write_scenario
from itkm.evaluation.features import FeatureSet
from itkm.evaluation.protocols import protocol_named

MakeImage = Callable[..., bytes]
Sound = tuple[Path, pd.DataFrame]


def rewrite(folder: Path, frame: pd.DataFrame, contents: dict[str, bytes] | None = None) -> None:
    """Writes the scenario again with other rows or, by path, other contents."""
    reader = ShardReader(folder)
    known = {path: reader.read(shard, path) for shard, path in zip(frame["shard"], frame["path"], strict=True)}
    rows = frame.to_dict("records")
    shutil.rmtree(folder)  # else shards of cameras that are gone stay behind
    write_scenario(
        (({str(k): v for k, v in row.items()}, (known | (contents or {}))[row["path"]]) for row in rows), folder
    )


def named(frame: pd.DataFrame, *rows: int) -> tuple[str, ...]:
    """How a finding names rows: by number, path and the file that each was."""
    return tuple(f"row {row} ({frame['path'][row]} from {frame['source'][row]})" for row in rows)


def flat(size: tuple[int, int]) -> bytes:
    """A red image file: a large one is encoded in no time."""
    stream = io.BytesIO()
    Image.new("RGB", size, "red").save(stream, "PNG")
    return stream.getvalue()


def only(folder: Path, rule: str) -> Finding:
    """The one finding, which must be of that rule."""
    findings = check_dataset(folder)
    assert [finding.rule for finding in findings] == [rule]
    return findings[0]


def test_sound_data_has_no_finding(sound: Sound) -> None:
    assert check_dataset(sound[0]) == []


def test_a_broken_manifest_is_a_finding(tmp_path: Path) -> None:
    assert only(tmp_path, "schema").severity == "error"


def test_a_scenario_in_a_folder_of_another_name(sound: Sound) -> None:
    other = sound[0].rename(sound[0].parent / "other")
    finding = only(other, "scenario")
    assert finding.severity == "warning"
    assert "data/vi" in finding.message


def test_two_scenarios_in_one_folder(sound: Sound) -> None:
    folder, frame = sound
    frame.loc[3, "scenario"] = "cc"
    write_manifest(frame, folder)
    assert "2 scenarios (cc, vi)" in only(folder, "scenario").message


def test_three_groups(sound: Sound) -> None:
    folder, frame = sound
    frame.loc[3, "group"] = "third"
    write_manifest(frame, folder)
    assert "3 group(s)" in only(folder, "groups").message


def test_one_group_is_worth_a_warning(sound: Sound) -> None:
    folder, frame = sound
    rewrite(folder, frame[frame["group"] == "visible"].assign(split="train", camera="v0"))
    findings = check_dataset(folder)
    assert [(finding.severity, finding.rule) for finding in findings] == [
        ("warning", "groups"),
        ("warning", "cameras"),
        ("warning", "evaluation"),
    ]
    assert "one group ('visible')" in findings[0].message


def test_a_gallery_with_captions_needs_no_query(sound: Sound) -> None:
    folder, frame = sound
    kept = frame[(frame["split"] != "query") & (frame["group"] == "visible")]
    rewrite(folder, kept.assign(caption="a person in red"))
    assert only(folder, "groups").severity == "warning"
    rewrite(folder, kept)
    findings = {finding.rule: finding for finding in check_dataset(folder)}
    assert findings["evaluation"].severity == "error"


@pytest.mark.parametrize(("kept", "severity"), [(63, "warning"), (0, "error")])
def test_too_few_training_images(sound: Sound, kept: int, severity: str) -> None:
    folder, frame = sound
    train = frame.index[(frame["split"] == "train") & (frame["group"] == "infrared")]
    rewrite(folder, frame.drop(train[kept:]))
    finding = only(folder, "training-images")
    assert finding.severity == severity
    assert f"'infrared' has {kept} training images" in finding.message


def test_one_camera(sound: Sound) -> None:
    folder, frame = sound
    rewrite(folder, frame.assign(camera="c1"))
    findings = check_dataset(folder)  # of one camera, no image answers another
    assert [(finding.rule, finding.severity) for finding in findings] == [("cameras", "error"), ("positives", "error")]


def test_a_path_twice(sound: Sound) -> None:
    folder, frame = sound
    write_manifest(pd.concat([frame, frame.iloc[[5]]]), folder)
    findings = {finding.rule: finding for finding in check_dataset(folder)}
    first = named(frame, 5)[0]
    assert findings["unique-paths"].rows == (first, first.replace("row 5", f"row {len(frame)}"))


def test_shards_and_members_that_no_row_names(sound: Sound, make_image: MakeImage) -> None:
    folder, frame = sound
    with ShardWriter(folder / "feeds/old.tar") as shard:
        shard.add("x.png", make_image())
    assert "feeds/old.tar" in only(folder, "unlisted-shard").message
    (folder / "feeds/old.tar").unlink()
    write_manifest(frame.drop(index=[10]), folder)
    findings = {finding.rule: finding for finding in check_dataset(folder)}
    assert frame["path"][10] in findings["unlisted-images"].message


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_person_on_both_sides(sound: Sound, split: str) -> None:
    folder, frame = sound
    person = int(frame.loc[frame["split"] == "query", "person"].iloc[0])
    frame.loc[0, "person"] = person
    frame.loc[0, "split"] = split
    write_manifest(frame, folder)
    findings = {finding.rule: finding for finding in check_dataset(folder)}
    assert findings["identities"].severity == "error"
    assert named(frame, 0)[0] in findings["identities"].rows


def test_unknown_persons_and_distractors_may_stand_anywhere(sound: Sound) -> None:
    folder, frame = sound
    frame.loc[frame["split"] == "train", "person"] = -1
    gallery = frame.index[frame["split"] == "gallery"]
    frame.loc[[0, gallery[0]], "person"] = 0
    write_manifest(frame, folder)
    assert "identities" not in {finding.rule for finding in check_dataset(folder)}


def test_queries_without_a_positive(sound: Sound) -> None:
    folder, frame = sound
    query = frame.index[frame["split"] == "query"]
    frame.loc[query[0], "person"] = 999
    write_manifest(frame, folder)
    finding = only(folder, "positives")
    assert finding.severity == "warning"
    assert finding.rows == named(frame, query[0])
    frame.loc[query, "person"] = 999
    write_manifest(frame, folder)
    assert only(folder, "positives").severity == "error"


@pytest.mark.parametrize("of_one_group", [True, False])
def test_a_positive_under_the_same_camera_does_not_count_whatever_its_group(of_one_group: bool, sound: Sound) -> None:
    folder, frame = sound
    test = frame["split"].isin(["query", "gallery"])
    group = frame["group"].mask(test & of_one_group, "visible")
    rewrite(folder, frame.assign(camera=frame["camera"].mask(test, "v0"), group=group))
    findings = {finding.rule: finding for finding in check_dataset(folder)}
    assert findings["positives"].severity == "error"


@pytest.mark.parametrize("cameras", [["c1"], ["c1", "c2"]])
def test_a_query_is_lonely_where_the_protocol_finds_no_positive(cameras: list[str], sound: Sound) -> None:
    _, frame = sound
    test = frame[frame["split"].isin(["query", "gallery"])].reset_index(drop=True)
    test["camera"] = [cameras[number // 2 % len(cameras)] for number in test.index]  # pairs of both groups
    query, gallery = (_features(test[test["split"] == split]) for split in ("query", "gallery"))
    asking, shown = np.arange(len(query))[:, None], np.arange(len(gallery))
    hidden = protocol_named("cross-group").hides(query, gallery, asking, shown)
    answered = ((query.person[:, None] == gallery.person) & ~hidden).any(axis=1)
    assert answered.all() == (len(cameras) > 1)
    assert [finding.rule for finding in check_positives(test)] == ([] if answered.all() else ["positives"])


def _features(rows: pd.DataFrame) -> FeatureSet:
    camera = rows["camera"].str[1:].astype(np.int64).to_numpy()
    return FeatureSet(np.ones((len(rows), 2), dtype=np.float32), rows["person"].to_numpy(dtype=np.int64), camera)


@pytest.mark.parametrize(("missing", "severity"), [(["gallery"], "error"), (["query", "gallery"], "warning")])
def test_no_evaluation(sound: Sound, missing: list[str], severity: str) -> None:
    folder, frame = sound
    rewrite(folder, frame[~frame["split"].isin(missing)])
    assert only(folder, "evaluation").severity == severity


def test_images_that_cannot_be_read_or_are_of_odd_size(sound: Sound, make_image: MakeImage) -> None:
    folder, frame = sound
    visible = frame.index[frame["group"] == "visible"]
    paths = frame["path"][visible[:3]].tolist()
    contents = [make_image(1)[:60], make_image(900, size=(10, 20)), flat((2001, 2000))]
    rewrite(folder, frame, dict(zip(paths, contents, strict=True)))
    findings = check_dataset(folder)
    found = {finding.rule: (finding.severity, finding.rows) for finding in findings}
    rows = [named(read_manifest(folder), row) for row in visible[:3]]
    assert f"the first: {rows[0][0].split('(')[1][:-1]}: cannot be decoded" in findings[0].message
    assert found == {"decodable": ("error", rows[0]), "tiny": ("warning", rows[1]), "huge": ("warning", rows[2])}


def test_a_missing_shard_is_found(sound: Sound) -> None:
    folder, frame = sound
    (folder / frame["shard"][0]).unlink()
    findings = {finding.rule: finding for finding in check_dataset(folder)}
    assert len(findings["decodable"].rows) == 5
    assert "no such shard" in findings["decodable"].message


def test_copies_of_a_file(sound: Sound) -> None:
    folder, frame = sound
    content = ShardReader(folder).read(frame["shard"][0], frame["path"][0])
    rewrite(folder, frame, {frame["path"][2]: content})
    assert only(folder, "duplicates").rows == named(read_manifest(folder), 0, 2)


def test_groups_that_are_swapped(sound: Sound) -> None:
    folder, frame = sound
    frame["group"] = frame["group"].map({"visible": "infrared", "infrared": "visible"})
    write_manifest(frame, folder)
    messages = [finding.message for finding in check_dataset(folder)]
    assert [message.split(" images")[0] for message in messages] == [
        "100% of group 'visible' (72",
        "100% of group 'infrared' (72",
    ]


def test_grey_survives_jpeg(sound: Sound, make_image: MakeImage) -> None:
    folder, frame = sound
    infrared = frame.loc[frame["group"] == "infrared", "path"]
    rewrite(folder, frame, {path: make_image(500 + i, grey=True, form="JPEG") for i, path in enumerate(infrared)})
    assert check_dataset(folder) == []
    assert len(read_manifest(folder)) == len(frame)
