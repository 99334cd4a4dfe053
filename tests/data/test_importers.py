"""Importers: each layout becomes the same manifest; what cannot be used is refused, by name and with a remedy."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from itkm.data.images import decode
from itkm.data.importers import (
    FORMATS,
    ImportSummary,
    Progress,
    Request,
    import_dataset,
    market1501,
    parse_groups,
)
from itkm.data.importers.source import Groups, Part, SourceImage, group_of_cameras
from itkm.data.manifest import read_manifest
from itkm.data.shards import ShardReader
from itkm.data.training import TRAINING_COLUMNS, split_tables
from itkm.errors import InputError

MakeImage = Callable[..., bytes]
NO_GROUPS: Groups = {}
TWO: Groups = {"high": ["cam1"], "low": ["cam2"]}


def run(
    name: str,
    source: Path,
    out: Path,
    *,
    scenario: str = "cr",
    groups: Groups = NO_GROUPS,
    allow_partial: bool = False,
    progress: Progress = iter,
) -> ImportSummary:
    """An import with the usual arguments."""
    request = Request(source, scenario, groups, allow_partial=allow_partial)
    return import_dataset(name, request, out=out, progress=progress)


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def cameras(tmp_path: Path, make_image: MakeImage) -> Path:
    """A folder cam1, cam2 with three images each."""
    for seed in range(6):
        file = tmp_path / f"crops/cam{1 + seed // 3}/{seed % 3}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(make_image(seed))
    return tmp_path / "crops"


def table(folder: Path, text: str) -> Path:
    path = folder / "people.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_folder_of_cameras(cameras: Path, tmp_path: Path) -> None:
    summary = run("folder", cameras, tmp_path / "cr", groups=TWO)
    assert (summary.images, summary.persons, summary.cameras) == (6, 0, 2)
    assert summary.per_split == {"train": 6}
    assert summary.per_group == {"high": 3, "low": 3}
    frame = read_manifest(tmp_path / "cr")
    assert frame["source"].tolist() == [f"{camera}/{number}.png" for camera in ("cam1", "cam2") for number in range(3)]
    assert frame["path"].str.fullmatch(r"cam[12]/[0-9a-f]{16}\.png").all()
    assert set(frame["resolution"]) == {"16x32"}
    reader = ShardReader(tmp_path / "cr")
    for shard, path, name in zip(frame["shard"], frame["path"], frame["source"], strict=True):
        assert reader.read(shard, path) == (cameras / name).read_bytes()


def test_a_folder_of_groups(cameras: Path, tmp_path: Path) -> None:
    for group, camera in (("day", "cam1"), ("night", "cam2")):
        (cameras / group).mkdir()
        (cameras / camera).rename(cameras / group / camera)
    summary = run("folder", cameras, tmp_path / "out", scenario="mine")
    assert summary.per_group == {"day": 3, "night": 3}
    assert read_manifest(tmp_path / "out")["source"][0] == "day/cam1/0.png"


def test_a_folder_named_rendered_does_not_make_its_persons_rendered(
    cameras: Path, tmp_path: Path, make_image: MakeImage
) -> None:
    (cameras / "cam1").rename(cameras / "rendered")
    run("folder", cameras, tmp_path / "cr", groups={"high": ["rendered"], "low": ["cam2"]})
    frame = read_manifest(tmp_path / "cr")
    assert frame.loc[frame["camera"] == "rendered", "source"].tolist() == [f"./rendered/{n}.png" for n in range(3)]


def test_a_folder_without_groups_says_which_option_to_give(cameras: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cam1, cam2.*--group high=cam1 --group low=cam2"):
        run("folder", cameras, tmp_path / "cr")
    assert not (tmp_path / "cr").exists()


def test_mixed_depths_are_refused(cameras: Path, tmp_path: Path, make_image: MakeImage) -> None:
    (cameras / "cam1/deeper").mkdir()
    (cameras / "cam1/deeper/x.png").write_bytes(make_image())
    with pytest.raises(InputError, match=r"cam1/0\.png, .*cam1/deeper/x\.png, expected all as"):
        run("folder", cameras, tmp_path / "cr")
    assert run("folder", cameras, tmp_path / "cr", groups=TWO).images == 7  # the option makes it clear
    (cameras / "loose.png").write_bytes(make_image())
    with pytest.raises(InputError, match=r"loose\.png: lies in no camera's folder"):
        run("folder", cameras, tmp_path / "cr", groups=TWO)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no image\. Expected"):
        run("folder", tmp_path / "empty", tmp_path / "cr")


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"high": ["cam1"], "low": ["cam9"]}, "no camera cam9; there are cam1, cam2"),
        ({"high": ["cam1"], "low": ["cam1"]}, "'cam1' is given twice"),
        ({"high": ["cam1", "cam2"]}, "1 groups given, expected two"),
        ({"a": ["cam1"], "b": ["cam2"], "c": ["cam3"]}, "3 groups given, expected two"),
    ],
)
def test_groups_that_do_not_fit_the_cameras(groups: dict[str, list[str]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        group_of_cameras(groups, ["cam1", "cam2"], source=Path("x"))


def test_a_camera_in_no_group_is_named() -> None:
    with pytest.raises(InputError, match="cameras c stand in no group"):
        group_of_cameras({"x": ["a"], "y": ["b"]}, ["a", "b", "c"], source=Path("x"))


def test_group_options_are_parsed() -> None:
    assert parse_groups(["high=c1, c2", "low=c3"]) == {"high": ("c1", "c2"), "low": ("c3",)}
    for bad in ("high", "high=", "=c1", "high=,"):
        with pytest.raises(InputError, match="expected NAME=CAMERA,CAMERA"):
            parse_groups([bad])
    with pytest.raises(InputError, match="given twice"):
        parse_groups(["a=c1", "a=c2"])


def test_links_out_of_the_source_are_refused(cameras: Path, tmp_path: Path, make_image: MakeImage) -> None:
    (tmp_path / "secret.png").write_bytes(make_image())
    link = cameras / "cam1/link.png"
    link.symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match=r"link\.png: leads out of"):
        run("folder", cameras, tmp_path / "cr", groups=TWO)
    link.unlink()
    (tmp_path / "elsewhere").mkdir()
    (cameras / "cam3").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="cam3: leads out of"):
        run("folder", cameras, tmp_path / "cr", groups=TWO)
    (cameras / "cam3").unlink()
    link.symlink_to(cameras / "cam1/0.png")
    assert run("folder", cameras, tmp_path / "cr", groups=TWO).images == 7


def test_a_linked_folder_is_refused_as_its_images_would_be_missing(cameras: Path, tmp_path: Path) -> None:
    (cameras / "cam3").symlink_to(cameras / "cam1")
    with pytest.raises(InputError, match=r"cam3: a link to a folder, which is not followed\. Copy the folder itself"):
        run("folder", cameras, tmp_path / "cr", groups=TWO)
    assert not (tmp_path / "cr").exists()


def closed(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Lets nobody list a folder: permissions alone do not stop root, who may run the tests."""
    scandir = os.scandir

    def refuse(path: str | os.PathLike[str]) -> Any:
        if Path(path) == folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)


def test_a_folder_that_cannot_be_listed_is_named(
    cameras: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed(monkeypatch, cameras / "cam2")
    with pytest.raises(InputError, match=r"cam2: cannot be read \(Permission denied\)\. Change its permissions"):
        run("folder", cameras, tmp_path / "cr", groups=TWO, allow_partial=True)
    assert not (tmp_path / "cr").exists()


def test_a_set_whose_folder_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> Iterator[Path]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    (tmp_path / "set").mkdir()
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match=r"set: cannot be read \(Permission denied\)"):
        run("market1501", tmp_path / "set", tmp_path / "cr")


def test_a_file_in_place_of_a_folder_of_images_is_named(market: Path, tmp_path: Path) -> None:
    shutil.rmtree(market / "query")
    (market / "query").touch()
    with pytest.raises(InputError, match=r"query: cannot be read \(Not a directory\)"):
        run("market1501", market, tmp_path / "cr", allow_partial=True)


@pytest.mark.parametrize("scenario", ["bad name!", "", ".hidden", "s" * 65])
def test_a_scenario_that_no_row_may_name_is_refused_by_its_option(scenario: str, cameras: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"^--scenario {scenario!r}: expected a name of ASCII letters, .* of at most"):
        run("folder", cameras, tmp_path / "cr", scenario=scenario, groups=TWO)
    assert not (tmp_path / "cr").exists()


def test_a_set_without_any_image_does_not_ask_for_groups(tmp_path: Path) -> None:
    for name in ("idx/train_vis.txt", "idx/train_nir.txt"):
        (tmp_path / "LLCM" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "LLCM" / name).touch()
    (tmp_path / "LLCM/idx/test_id.txt").write_text("1")
    for name in ("vis", "nir", "test_vis", "test_nir"):
        (tmp_path / "LLCM" / name).mkdir()
    with pytest.raises(InputError, match=r"LLCM: no image found\. Expected"):
        run("llcm", tmp_path / "LLCM", tmp_path / "vi", scenario="vi")


def test_unreadable_files_are_all_named(cameras: Path, tmp_path: Path) -> None:
    for name in ("cam1/1.png", "cam2/0.png"):
        (cameras / name).write_bytes(b"broken")
    with pytest.raises(InputError, match=r"(?s)cam1/1\.png.*cam2/0\.png.*--allow-partial"):
        run("folder", cameras, tmp_path / "cr", groups=TWO)
    assert files_below(tmp_path / "cr") == {}
    summary = run("folder", cameras, tmp_path / "cr", groups=TWO, allow_partial=True)
    assert (summary.images, summary.skipped) == (4, 2)
    assert "cam1/1.png" in summary.warnings[0]


def test_only_the_first_ten_faults_are_named(cameras: Path, tmp_path: Path) -> None:
    for number in range(15):
        (cameras / f"cam1/bad{number:02d}.png").write_bytes(b"broken")
    with pytest.raises(InputError) as caught:
        run("folder", cameras, tmp_path / "cr", groups=TWO)
    assert str(caught.value).count("cannot be decoded") == 10


def test_other_formats_are_packed_as_png_without_loss(cameras: Path, tmp_path: Path, make_image: MakeImage) -> None:
    bitmap, jpeg = make_image(7, form="BMP"), make_image(8, form="JPEG")
    (cameras / "cam1/x.bmp").write_bytes(bitmap)
    (cameras / "cam1/y.png").write_bytes(jpeg)  # the content counts, not the suffix
    run("folder", cameras, tmp_path / "cr", groups=TWO)
    reader = ShardReader(tmp_path / "cr")
    path = read_manifest(tmp_path / "cr").set_index("source")["path"]
    assert path["cam1/x.bmp"].endswith(".png")
    assert path["cam1/y.png"].endswith(".jpg")
    packed = reader.read("shards/cam1.tar", path["cam1/x.bmp"])
    assert packed.startswith(b"\x89PNG")
    assert np.array_equal(np.asarray(decode(packed, name="x")), np.asarray(decode(bitmap, name="x")))
    assert reader.read("shards/cam1.tar", path["cam1/y.png"]) == jpeg


def test_an_import_is_idempotent(cameras: Path, tmp_path: Path) -> None:
    run("folder", cameras, tmp_path / "cr", groups=TWO)
    first = files_below(tmp_path / "cr")
    again = run("folder", cameras, tmp_path / "cr", groups=TWO)
    assert files_below(tmp_path / "cr") == first
    assert again.warnings == ()


def test_shards_of_an_earlier_import_are_reported_not_removed(cameras: Path, tmp_path: Path) -> None:
    run("folder", cameras, tmp_path / "cr", groups=TWO)
    (cameras / "cam2").rename(cameras / "cam3")
    summary = run("folder", cameras, tmp_path / "cr", groups={"high": ["cam1"], "low": ["cam3"]})
    assert summary.warnings == (f"{tmp_path}/cr/shards/cam2.tar: of an earlier import, no row names it. Remove it.",)
    assert (tmp_path / "cr/shards/cam2.tar").is_file()


def test_too_little_space_is_noticed_before_any_work(
    cameras: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match="0 MB free"):
        run("folder", cameras, tmp_path / "cr", groups=TWO)
    assert not (tmp_path / "cr").exists()


def test_unknown_formats_and_missing_sources(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"unknown format 'duke', expected one of .*, folder, .*See `itkm data formats`"
    ):
        run("duke", tmp_path, tmp_path / "cr")
    for name in FORMATS:
        with pytest.raises(InputError, match="no such"):
            run(name, tmp_path / "nowhere", tmp_path / "cr")


def test_progress_sees_every_image(cameras: Path, tmp_path: Path) -> None:
    seen: list[str] = []

    def progress(images: Sequence[SourceImage]) -> Iterator[SourceImage]:
        for image in images:
            seen.append(str(image.row["source"]))
            yield image

    run("folder", cameras, tmp_path / "cr", groups=TWO, progress=progress)
    assert len(seen) == 6


def test_market_is_parsed_and_junk_dropped(market: Path, tmp_path: Path) -> None:
    summary = run("market1501", market.parent, tmp_path / "cr", allow_partial=True)  # the folder that holds it
    frame = read_manifest(tmp_path / "cr").set_index("source")
    assert "bounding_box_test/-1_c1s1_000401_03.jpg" not in frame.index
    assert frame["person"]["bounding_box_test/0000_c1s1_000151_01.jpg"] == 0
    assert list(frame[["person", "camera", "group"]].loc["query/0003_c6s3_075694_00.jpg"]) == [3, "c6", "low"]
    assert frame.loc["bounding_box_train/0007_c3s3_077419_03.jpg", "group"] == "high"
    assert (summary.images, summary.persons, summary.cameras) == (8, 4, 4)
    assert summary.per_split == {"train": 3, "gallery": 3, "query": 2}


def identities_swapped(market: Path, swap: dict[str, str], to: Path) -> Path:
    """The same images of a Market-shaped tree under the names of other persons, so that they come in another order."""
    for file in market.rglob("*.jpg"):
        person, rest = file.name.split("_", 1)
        target = to / file.parent.name / f"{swap.get(person, person)}_{rest}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    return to


def test_no_training_table_tells_who_is_who(market: Path, tmp_path: Path) -> None:
    swapped = identities_swapped(market, {"0002": "0007", "0007": "0002"}, tmp_path / "swapped")
    tables: list[bytes] = []
    order: list[list[str]] = []
    for source, out in ((market, tmp_path / "a"), (swapped, tmp_path / "b")):
        run("market1501", source, out, allow_partial=True)
        manifest = read_manifest(out)
        train, _ = split_tables(manifest)
        assert tuple(train.columns) == TRAINING_COLUMNS
        train.to_parquet(out / "train.parquet", index=False)
        tables.append((out / "train.parquet").read_bytes())
        order.append(manifest.loc[manifest["split"] == "train", "path"].tolist())
    assert order[0] != order[1]  # the files came in another order, so that it is the table that hides it
    assert tables[0] == tables[1]


def test_no_identity_stands_in_the_training_table_of_market(market: Path, tmp_path: Path) -> None:
    run("market1501", market, tmp_path / "cr", allow_partial=True)
    manifest = read_manifest(tmp_path / "cr")
    text = split_tables(manifest)[0].to_csv(index=False)
    identities = {name.split("/")[1].split("_")[0] for name in manifest["source"]}
    assert identities == {"0000", "0001", "0002", "0003", "0007"}
    assert not [person for person in identities if person in text]
    assert not re.search(r"c\ds\d|_\d", text)  # nor another part of a file's name


def test_the_same_picture_of_two_persons_is_kept_twice(market: Path, tmp_path: Path) -> None:
    shutil.copy(market / "bounding_box_train/0002_c1s1_000451_03.jpg", market / "bounding_box_train/0009_c1s1_1_1.jpg")
    run("market1501", market, tmp_path / "cr", allow_partial=True)
    frame = read_manifest(tmp_path / "cr").set_index("source")
    first, second = (frame["path"][f"bounding_box_train/{n}.jpg"] for n in ("0002_c1s1_000451_03", "0009_c1s1_1_1"))
    assert second == first.replace(".jpg", "-1.jpg")


def test_market_statistics_are_asserted(market: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"bounding_box_train has 2 identities, expected 751; .* 12,936"):
        run("market1501", market, tmp_path / "cr")
    summary = run("market1501", market, tmp_path / "cr", allow_partial=True)
    assert len(summary.warnings) == 6


def test_the_published_statistics_pass(market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = zip(market1501.PARTS.items(), (3, 2, 3), strict=True)
    tiny = {split: Part(part.name, persons=2, images=images) for (split, part), images in sizes}
    monkeypatch.setattr(market1501, "PARTS", tiny)
    assert run("market1501", market, tmp_path / "cr").warnings == ()


def test_market_groups_can_be_given(market: Path, tmp_path: Path) -> None:
    groups = {"a": ["c1", "c2", "c3"], "b": ["c4", "c5", "c6"]}
    run("market1501", market, tmp_path / "cr", allow_partial=True, groups=groups)
    frame = read_manifest(tmp_path / "cr")
    assert dict(zip(frame["camera"], frame["group"], strict=True)) == {"c1": "a", "c6": "b", "c3": "a", "c2": "a"}


def test_market_faults_are_named(market: Path, tmp_path: Path, make_image: MakeImage) -> None:
    (market / "query/photo.jpg").write_bytes(make_image())
    with pytest.raises(InputError, match=r"query/photo\.jpg: expected a name such as"):
        run("market1501", market, tmp_path / "cr", allow_partial=True)
    shutil.rmtree(market / "query")
    with pytest.raises(InputError, match="bounding_box_train, query, bounding_box_test in it, query not found"):
        run("market1501", market, tmp_path / "cr", allow_partial=True)


def test_a_table_with_defaults(cameras: Path, tmp_path: Path) -> None:
    lines = ["path,group,camera,person,split,caption"]
    lines += [f'cam1/{n}.png,high,cam1,{7 + n},query,"a man, walking"' for n in range(3)]
    lines += [f"cam2/{n}.png,low,cam2,,," for n in range(3)]
    summary = run("manifest", table(cameras, "\ufeff" + "\n".join(lines)), tmp_path / "cr")
    frame = read_manifest(tmp_path / "cr")
    assert frame["person"].tolist() == [7, 8, 9, -1, -1, -1]
    assert frame["split"].tolist() == ["query"] * 3 + ["train"] * 3
    assert frame["caption"].tolist() == ["a man, walking"] * 3 + [""] * 3
    assert frame["source"].tolist() == [f"cam{camera}/{n}.png" for camera in (1, 2) for n in range(3)]
    assert summary.per_group == {"high": 3, "low": 3}


def test_a_parquet_table_equals_its_csv(cameras: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "path": [f"cam{camera}/{n}.png" for camera in (1, 2) for n in range(3)],
            "group": ["high"] * 3 + ["low"] * 3,
            "camera": ["cam1"] * 3 + ["cam2"] * 3,
            "person": pd.array([1, None, 3, 4, None, 6], dtype="Int64"),
            "timestamp": pd.Timestamp("2024-05-31T16:20:00"),
            "caption": None,
        }
    )
    frame.to_parquet(cameras / "people.parquet")
    run("manifest", cameras / "people.parquet", tmp_path / "a")
    csv = table(cameras, frame.assign(timestamp="2024-05-31T16:20:00").to_csv(index=False))
    run("manifest", csv, tmp_path / "b")
    first, second = read_manifest(tmp_path / "a"), read_manifest(tmp_path / "b")
    pd.testing.assert_frame_equal(first, second)
    assert first["person"].tolist() == [1, -1, 3, 4, -1, 6]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("../secret.png,high,cam1,1", r"line 3: path is '\.\./secret\.png'"),
        ("/etc/passwd,high,cam1,1", "line 3: path is '/etc/passwd'"),
        ("cam1/1.png,high,cam 1,1", "line 3: camera is 'cam 1', expected a name of ASCII letters"),
        ("cam1/1.png,high,cam1,someone", "line 3: person is 'someone', expected a whole number"),
        ("cam1/1.png,,cam1,1", "line 3: group is empty"),
        ("cam1/1.png,high,cam1,1,more", "line 3: more cells than columns"),
        ("cam1/9.png,high,cam1,1", r"line 3 \(cam1/9\.png\): cannot be read"),
        ("cam1/0.png,high,cam1,1", r"line 3 \(cam1/0\.png\): the same file as .*line 2, expected each file once"),
    ],
)
def test_bad_lines_are_named_by_number(cameras: Path, tmp_path: Path, line: str, message: str) -> None:
    text = f"path,group,camera,person\ncam1/0.png,high,cam1,1\n{line}\ncam2/0.png,low,cam2,1\n"
    with pytest.raises(InputError, match=message):
        run("manifest", table(cameras, text), tmp_path / "cr")
    assert files_below(tmp_path / "cr") == {}


def test_all_bad_lines_are_named_at_once(cameras: Path, tmp_path: Path) -> None:
    text = "path,group,camera\n" + "\n".join(f"../{n},high,cam1" for n in range(12))
    with pytest.raises(InputError, match=r"(?s)line 2: .*line 11: .*and 2 more"):
        run("manifest", table(cameras, text), tmp_path / "cr")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,camera\n", "missing: group"),
        ("path;group;camera\n", "columns path;group;camera; missing: path"),
        ("path,group,camera,persons\n", "unknown: persons"),
        ("path,group,camera,scenario\ncam1/0.png,high,cam1,vi\n", "scenario is 'vi', expected 'cr'"),
        ("path,group,camera\ncam1/0.png,high,cam1\n", "1 group"),
        ('path,group,camera\n"cam1/0.png,high,cam1\n', "cannot be read as csv"),
        ("", "columns none; missing: path, group, camera"),
    ],
)
def test_tables_that_cannot_be_used(cameras: Path, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run("manifest", table(cameras, text), tmp_path / "cr")


def test_a_table_takes_no_group_option(cameras: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Leave the option out"):
        run("manifest", table(cameras, "path,group,camera\n"), tmp_path / "cr", groups=TWO)


def test_a_table_that_may_not_be_read_is_named(cameras: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = table(cameras, "path,group,camera\ncam1/0.png,high,cam1\n")

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=rf"{listed.name}: cannot be read \(Permission denied\)"):
        run("manifest", listed, tmp_path / "cr")


def test_links_of_a_table_may_not_leave_its_folder(cameras: Path, tmp_path: Path, make_image: MakeImage) -> None:
    (tmp_path / "secret.png").write_bytes(make_image())
    (cameras / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match=r"link\.png: leads out of"):
        run("manifest", table(cameras, "path,group,camera\nlink.png,high,cam1\n"), tmp_path / "cr")


def test_every_format_tells_what_it_is() -> None:
    for form in FORMATS.values():
        assert form.description
        assert form.layout
        assert form.licence


def test_every_reader_of_a_published_set_gives_an_address() -> None:
    readers = {
        getattr(form.read, "func", form.read) for name, form in FORMATS.items() if name not in ("folder", "manifest")
    }
    for reader in readers:
        told = sys.modules[reader.__module__].__doc__ or ""
        assert re.search(r"^Reference\n(    .*\n)*    https://\S+\n", told, re.MULTILINE), reader.__module__
