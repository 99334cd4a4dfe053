from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import faults
import numpy as np
import pandas as pd
import pytest
from deliveries import DECLARED, digests, in_feed, of, take

from itkm.errors import InputError
from itkm.feeds import archive, intake
from itkm.feeds.feed import CLAIMED, FEED_FILE, IMAGES, QUARANTINE, Feed
from itkm.feeds.quarantine import reasons
from itkm.feeds.report import read_quarantine

ROOT = Path(__file__).parents[2]
MOVE = os.replace


@pytest.fixture(scope="module")
def drop() -> faults.Drop:
    """Twenty clean crops, and two of each kind that does not decode."""
    found = faults.clean_drop("vi", "vi-c1", images=20)
    for fault in ("truncated", "zero bytes", "html"):
        found = faults.plant(found, fault, 0.1)
    return found


def rules(folder: Path) -> dict[str, str]:
    """The rule by which each file was put aside, by its name as it came."""
    return {str(reason["name"]): str(reason["rule"]) for reason in reasons(folder)}


def test_a_folder_is_moved_and_each_file_lies_in_one_place(tmp_path: Path, drop: faults.Drop) -> None:
    source = drop.write(tmp_path / "drop")
    feed, profile = take(source, tmp_path / "feed")
    assert not source.exists() and not (tmp_path / "feed" / CLAIMED).exists()
    broken = frozenset().union(*drop.planted.values())
    assert digests(tmp_path / "feed" / IMAGES) == of({n: c for n, c in drop.files.items() if n not in broken})
    assert digests(tmp_path / "feed" / QUARANTINE) == of({name: drop.files[name] for name in broken})
    assert rules(tmp_path / "feed") == {
        **dict.fromkeys(drop.planted["truncated"], "broken"),
        **dict.fromkeys(drop.planted["zero bytes"], "empty"),
        **dict.fromkeys(drop.planted["html"], "type"),
    }
    assert set(profile["path"]) == set(drop.files) and len(profile) == len(drop.files)
    assert (Feed.load(tmp_path / "feed"), len(feed.content)) == (feed, 64)


def test_names_tell_camera_time_and_tracklet(tmp_path: Path) -> None:
    image = next(iter(faults.clean_drop("vi", "vi-c1", images=1).files.values()))
    source = tmp_path / "drop"
    for name in (
        "c7_20260302T060000Z_t0012_00003.jpg",
        "20260302T060001.5.jpg",
        "a/x_20260302T250000Z_4.jpg",
        "00010101T000000Z.jpg",
        "plain.jpg",
    ):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(image + name.encode())
    _, profile = take(source, tmp_path / "feed")
    rows = profile.set_index("path")[["camera", "timestamp", "tracklet"]]
    assert rows.loc["c7_20260302T060000Z_t0012_00003.jpg"].tolist() == ["c7", pd.Timestamp("2026-03-02T06:00Z"), 12]
    assert rows.loc["20260302T060001.5.jpg"].tolist() == ["vi-c1", pd.Timestamp("2026-03-02T06:00:01.5Z"), -1]
    assert rows.loc["a/x_20260302T250000Z_4.jpg"].tolist() == ["x", pd.NaT, 4]  # there is no 25th hour
    assert rows.loc["00010101T000000Z.jpg"].tolist() == ["vi-c1", pd.NaT, -1]  # a clock that was never set
    assert rows.loc["plain.jpg"].tolist() == ["vi-c1", pd.NaT, -1]


def test_a_pattern_of_ones_own(tmp_path: Path) -> None:
    image = next(iter(faults.clean_drop("vi", "vi-c1", images=1).files.values()))
    (tmp_path / "drop").mkdir()
    (tmp_path / "drop" / "0002_c3s1_000551.jpg").write_bytes(image)
    _, profile = take(tmp_path / "drop", tmp_path / "feed", pattern=r"(?P<tracklet>\d+)_(?P<camera>c\d)")
    assert profile[["camera", "tracklet"]].to_numpy().tolist() == [["c3", 2]]
    for bad in ("(", "no groups", r"(?P<person>\d+)"):
        with pytest.raises(InputError, match="--names"):
            intake.sort_files(tmp_path / "feed", DECLARED, pattern=bad, progress=lambda rows, total: rows)


def test_what_is_no_plain_file_with_a_plain_name_is_put_aside_unread(tmp_path: Path, drop: faults.Drop) -> None:
    source = drop.write(tmp_path / "drop")
    image = next(iter(drop.files.values()))
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(image)
    (source / "link.jpg").symlink_to(secret)
    (source / "folder-link").symlink_to(tmp_path)
    os.mkfifo(source / "pipe.jpg")
    (source / "one.jpg").write_bytes(image)
    os.link(source / "one.jpg", source / "two.jpg")
    for name in (".hidden.jpg", "a\nb.jpg", "-x.jpg.reason.json", "x" * 240 + ".jpg"):
        (source / name).write_bytes(image)
    before = len(list(intake.walk(source)))
    _, profile = take(source, tmp_path / "feed")
    found = rules(tmp_path / "feed")
    assert found["link.jpg"] == found["folder-link"] == found["one.jpg"] == found["two.jpg"] == "link"
    assert found["pipe.jpg"] == "special"
    assert {found[name] for name in (".hidden.jpg", "a\nb.jpg", "-x.jpg.reason.json", "x" * 240 + ".jpg")} == {"name"}
    assert len(profile) == before
    kept = {
        reason["name"]: tmp_path / "feed" / QUARANTINE / str(reason["file"]) for reason in reasons(tmp_path / "feed")
    }
    assert kept["link.jpg"].is_symlink() and stat.S_ISFIFO(kept["pipe.jpg"].lstat().st_mode)
    assert kept["a\nb.jpg"].read_bytes() == secret.read_bytes() == image


def test_files_of_any_depth_keep_their_paths(tmp_path: Path, drop: faults.Drop) -> None:
    names = sorted(drop.files)
    source = tmp_path / "drop"
    for number, name in enumerate(names):
        file = source / ("morning" if number % 2 else "evening/late") / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(drop.files[name])
    (source / "empty").mkdir()
    _, profile = take(source, tmp_path / "feed")
    assert {Path(path).name for path in profile["path"]} == set(names)
    assert {str(Path(path).parent) for path in profile["path"]} == {"morning", "evening/late"}
    assert in_feed(tmp_path / "feed") == of(drop.files)


def test_cut_off_after_any_file_it_goes_on_and_ends_the_same(
    tmp_path: Path, drop: faults.Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = take(drop.write(tmp_path / "drop"), tmp_path / "whole")
    broken = sum(map(len, drop.planted.values()))
    for stop in range(0, 1 + 1 + len(drop.files) + broken + 1, 3):  # identity, claim, files, reasons, identity
        source, folder = drop.write(tmp_path / "again"), tmp_path / f"feed-{stop}"
        moves = iter(range(stop))

        def counted(self: Path, target: Path, moves: Iterator[int] = moves) -> Path:
            if next(moves, None) is None:
                raise KeyboardInterrupt
            MOVE(self, target)
            return Path(target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", counted)
            patch.setattr(Path, "replace", counted)
            with pytest.raises(KeyboardInterrupt):
                take(source, folder)
        places = digests(source) + in_feed(folder)
        assert places == of(drop.files)
        if not folder.exists() or not (folder / "feed.json").exists():
            assert digests(source) == of(drop.files)
        _, profile = take(source, folder)
        pd.testing.assert_frame_equal(profile, whole)
        assert digests(folder / IMAGES) == digests(tmp_path / "whole" / IMAGES)
        assert sorted(map(str, reasons(folder))) == sorted(map(str, reasons(tmp_path / "whole")))
        assert not source.exists()


def test_a_folder_on_another_disk_is_copied_and_left(
    tmp_path: Path, drop: faults.Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = drop.write(tmp_path / "drop")
    (source / "link.jpg").symlink_to(ROOT)
    monkeypatch.setattr(intake, "_moved", lambda source, target: False)
    _, profile = take(source, tmp_path / "feed")
    assert in_feed(tmp_path / "feed") == of(drop.files) == digests(source)
    assert rules(tmp_path / "feed")["link.jpg"] == "link" and len(profile) == len(drop.files) + 1
    take(source, tmp_path / "feed")  # again, although the source still lies there
    (source / "late.jpg").write_bytes(b"late")


def test_the_file_systems_differ_for_real(tmp_path: Path, drop: faults.Drop) -> None:
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system at hand")
    source = drop.write(shared / f"itkm-{os.getpid()}")
    try:
        take(source, tmp_path / "feed")
        assert in_feed(tmp_path / "feed") == of(drop.files) == digests(source)
    finally:
        shutil.rmtree(source)


def tar_of(members: list[tuple[tarfile.TarInfo, bytes]], file: Path, mode: str = "w:gz") -> Path:
    with tarfile.open(file, mode) as tar:  # type: ignore[call-overload]
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file


def plain(files: dict[str, bytes]) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [(tarfile.TarInfo(name), content) for name, content in files.items()]


def kind(name: str, type_: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = type_, target
    return member, b""


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_tar_gives_what_its_folder_gives(tmp_path: Path, drop: faults.Drop, mode: str) -> None:
    file = tar_of(plain(drop.files), tmp_path / "drop.tar", mode)
    packed = file.read_bytes()
    feed, profile = take(file, tmp_path / "feed")
    other, whole = take(drop.write(tmp_path / "drop"), tmp_path / "whole")
    pd.testing.assert_frame_equal(profile, whole)
    assert feed.content == other.content and file.read_bytes() == packed


def test_hostile_members_of_a_tar_stay_in_the_feed_folder(tmp_path: Path) -> None:
    image = next(iter(faults.clean_drop("vi", "vi-c1", images=1).files.values()))
    members = plain({"good.jpg": image, "../up.jpg": b"1", "/abs.jpg": b"2", "a/../../b.jpg": b"3", "dir": b"4"})
    members += plain({"dir/under-a-file.jpg": b"5", "c\\..\\d.jpg": b"6", "~root.jpg": b"7", "": b"8"})
    members += [kind("sym.jpg", tarfile.SYMTYPE, "/etc/passwd"), kind("hard.jpg", tarfile.LNKTYPE, "good.jpg")]
    members += [kind("dev.jpg", tarfile.CHRTYPE), kind("fifo.jpg", tarfile.FIFOTYPE), kind("folder", tarfile.DIRTYPE)]
    members += plain({"good.jpg": b"9"})
    before = set(tmp_path.rglob("*"))
    _, profile = take(tar_of(members, tmp_path / "drop.tar.gz"), tmp_path / "feed")
    outside = {path for path in set(tmp_path.rglob("*")) - before if not path.is_relative_to(tmp_path / "feed")}
    assert outside == {tmp_path / "drop.tar.gz"}
    assert profile.loc[profile["decode_ok"], "path"].tolist() == ["good.jpg"]
    assert (tmp_path / "feed" / IMAGES / "good.jpg").read_bytes() == image
    found = [(str(reason["name"]), str(reason["rule"])) for reason in reasons(tmp_path / "feed")]
    assert ("good.jpg", "twice") in found and ("dir/under-a-file.jpg", "twice") in found
    for name in ("../up.jpg", "/abs.jpg", "a/../../b.jpg", "c\\..\\d.jpg"):
        assert (name, "name") in found
    assert {rule for name, rule in found if name in ("sym.jpg", "hard.jpg")} == {"link"}
    assert {rule for name, rule in found if name in ("dev.jpg", "fifo.jpg")} == {"special"}
    assert not any(path.is_symlink() for path in (tmp_path / "feed").rglob("*"))
    assert len(profile) == len(members) - 1  # a folder is no file


def test_a_zip_gives_its_files_and_names_what_it_cannot_give(tmp_path: Path, drop: faults.Drop) -> None:
    file = tmp_path / "drop.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in drop.files.items():
            out.writestr(name, content)
        link = zipfile.ZipInfo("link.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        out.writestr(link, "/etc/passwd")
        out.writestr("../up.jpg", b"1")
        out.writestr("flipped.jpg", b"some content that is long enough to be found again", zipfile.ZIP_STORED)
    damaged = file.read_bytes().replace(b"long enough", b"LONG enough")
    file.write_bytes(damaged)
    _, profile = take(file, tmp_path / "feed")
    found = rules(tmp_path / "feed")
    assert (found["link.jpg"], found["../up.jpg"], found["flipped.jpg"]) == ("link", "name", "broken")
    assert len(profile) == len(drop.files) + 3
    assert not any(path.is_symlink() for path in (tmp_path / "feed").rglob("*"))


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_member_of_a_zip_is_put_aside_alone(tmp_path: Path, drop: faults.Drop, packing: int) -> None:
    with zipfile.ZipFile(tmp_path / "drop.zip", "w", packing) as out:
        for name, content in {"flipped.jpg": bytes(range(256)) * 9, **drop.files}.items():
            out.writestr(name, content)
    content = bytearray((tmp_path / "drop.zip").read_bytes())
    start = 30 + len("flipped.jpg")
    content[start + 4 : start + 40] = bytes(36)
    (tmp_path / "drop.zip").write_bytes(content)
    take(tmp_path / "drop.zip", tmp_path / "feed")
    assert rules(tmp_path / "feed")["flipped.jpg"] == "broken"
    assert in_feed(tmp_path / "feed") == of(drop.files)


def test_folders_are_members_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 10)
    tar_of([kind(f"{number}", tarfile.DIRTYPE) for number in range(11)], tmp_path / "folders.tar")
    with zipfile.ZipFile(tmp_path / "folders.zip", "w") as out:
        for number in range(11):
            out.writestr(f"{number}/", b"")
    for name in ("folders.tar", "folders.zip"):
        with pytest.raises(InputError, match="more than 10 members"):
            take(tmp_path / name, tmp_path / "feed")


@pytest.mark.parametrize("packed", [gzip.compress, bz2.compress, lzma.compress])
def test_a_packed_tar_that_is_cut_anywhere_is_bad_input(tmp_path: Path, packed: Callable[[bytes], bytes]) -> None:
    whole = packed(tar_of(plain({"a.jpg": bytes(range(256))}), tmp_path / "a.tar", "w").read_bytes())
    for size in range(len(whole)):
        (tmp_path / "a.tar").write_bytes(whole[:size])
        with pytest.raises(InputError):
            take(tmp_path / "a.tar", tmp_path / "feed")


def test_again_each_reason_stays_as_it_was(tmp_path: Path, drop: faults.Drop) -> None:
    file = tar_of(plain({**drop.files, "../up.jpg": b"content"}), tmp_path / "a.tar")
    take(file, tmp_path / "feed")
    first = list(reasons(tmp_path / "feed"))
    assert {reason["bytes"] for reason in first if reason["name"] == "../up.jpg"} == {7}
    take(file, tmp_path / "feed")
    assert list(reasons(tmp_path / "feed")) == first


@pytest.mark.parametrize("packed", [True, False], ids=["tar", "folder"])
def test_a_name_that_is_no_utf_8_is_told_in_what_can_be_printed(tmp_path: Path, packed: bool) -> None:
    image = next(iter(faults.clean_drop("vi", "vi-c1", images=1).files.values()))
    files = {"M\udcfcller.jpg": image, "good.jpg": image}
    source = faults.Drop("vi", "visible", "vi-c1", files).write(tmp_path / "drop")
    if packed:
        members = [*plain(files), kind("l\udcfcnk.jpg", tarfile.SYMTYPE, "good.jpg")]
        source = tar_of(members, tmp_path / "a.tar")
    else:
        (source / "l\udcfcnk.jpg").symlink_to("good.jpg")
    take(source, tmp_path / "feed")
    assert set(rules(tmp_path / "feed")) == {r"M\udcfcller.jpg", r"l\udcfcnk.jpg"}
    for name, rule, message in read_quarantine(tmp_path / "feed"):
        assert rule in ("name", "link") and (name + message).encode()


CAPS: list[tuple[str, int, str]] = [("MAX_MEMBERS", 5, "members"), ("MAX_BYTES", 4000, "members")]


@pytest.mark.parametrize(("cap", "value", "said"), CAPS)
def test_an_archive_over_a_cap_is_refused_whole(
    tmp_path: Path, drop: faults.Drop, monkeypatch: pytest.MonkeyPatch, cap: str, value: int, said: str
) -> None:
    monkeypatch.setattr(archive, cap, value)
    file = tar_of(plain(drop.files), tmp_path / "drop.tar")
    with pytest.raises(InputError, match=said):
        take(file, tmp_path / "feed")
    assert not (tmp_path / "feed").exists() and file.exists()


@pytest.mark.parametrize("packer", ["tar", "zip"])
def test_an_archive_that_unpacks_to_a_hundred_times_its_size_is_refused(tmp_path: Path, packer: str) -> None:
    zeros = {f"{number}.jpg": bytes(30 * 2**20) for number in range(4)}
    file = tmp_path / f"bomb.{packer}"
    if packer == "tar":
        tar_of(plain(zeros), file)
    else:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
            for name, content in zeros.items():
                out.writestr(name, content)
    with pytest.raises(InputError, match="100 times"):
        take(file, tmp_path / "feed")
    assert not (tmp_path / "feed").exists()


def test_an_archive_that_breaks_off_is_refused_whole(tmp_path: Path, drop: faults.Drop) -> None:
    file = tar_of(plain(drop.files), tmp_path / "drop.tar.gz")
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(InputError, match="to its end"):
        take(file, tmp_path / "feed")
    assert not (tmp_path / "feed").exists()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2"])
def test_a_damaged_tar_is_not_taken_for_a_shorter_one(tmp_path: Path, drop: faults.Drop, mode: Any) -> None:
    content = bytearray(tar_of(plain(drop.files), tmp_path / "drop.tar", "w").read_bytes())
    with tarfile.open(tmp_path / "drop.tar") as tar:
        content[tar.getmembers()[10].offset] ^= 1
    packed = {"w": bytes, "w:gz": gzip.compress, "w:bz2": bz2.compress}[mode](content)
    (tmp_path / "drop.tar").write_bytes(packed)
    with pytest.raises(InputError, match="to its end"):
        take(tmp_path / "drop.tar", tmp_path / "feed")
    assert not (tmp_path / "feed").exists()


def test_the_sum_of_a_packed_tar_is_checked(tmp_path: Path, drop: faults.Drop) -> None:
    file = tar_of(plain(drop.files), tmp_path / "drop.tar.gz")
    content = bytearray(file.read_bytes())
    content[-8] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match="to its end"):
        take(file, tmp_path / "feed")
    assert not (tmp_path / "feed").exists()


def test_a_member_that_is_too_large_is_noted_and_stays_in_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drop: faults.Drop
) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 10_000)
    _, profile = take(tar_of(plain({**drop.files, "big.jpg": bytes(20_000)}), tmp_path / "a.tar"), tmp_path / "feed")
    assert rules(tmp_path / "feed")["big.jpg"] == "size" and len(profile) == len(drop.files) + 1


def test_another_archive_of_the_same_name_is_not_taken_for_the_first(tmp_path: Path, drop: faults.Drop) -> None:
    file = tar_of(plain(drop.files), tmp_path / "a.tar")
    take(file, tmp_path / "feed")
    tar_of(plain(dict(list(drop.files.items())[:5])), tmp_path / "a.tar")
    with pytest.raises(InputError, match="changed since"):
        take(file, tmp_path / "feed")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_says_camera_time_and_tracklet(tmp_path: Path, drop: faults.Drop, suffix: str) -> None:
    drop.write(tmp_path / "crops")
    names = sorted(drop.files)
    table = pd.DataFrame({"path": [f"crops/{name}" for name in names], "camera": "c9", "tracklet": range(len(names))})
    table["timestamp"] = "2026-05-01T10:00:00+02:00"
    table.loc[0, ["camera", "timestamp"]] = ""
    odd = ["../secret.jpg", "/etc/passwd", "crops/missing.jpg", f"crops/{names[3]}", "crops/link.jpg"]
    (tmp_path.parent / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "crops" / "link.jpg").symlink_to("/etc/hostname")
    table = pd.concat([table, pd.DataFrame({"path": odd})], ignore_index=True)
    if suffix == ".csv":
        table["tracklet"] = table["tracklet"].astype("Int64")
        table.to_csv(tmp_path / "list.csv", index=False)
    else:
        table["tracklet"] = table["tracklet"].astype("Int64")
        table.to_parquet(tmp_path / "list.parquet", index=False)
    _, profile = take(tmp_path / f"list{suffix}", tmp_path / "feed")
    rows = profile.set_index("path")
    assert rows.loc[f"crops/{names[1]}", ["camera", "tracklet"]].tolist() == ["c9", 1]
    assert rows.loc[f"crops/{names[1]}", "timestamp"] == pd.Timestamp("2026-05-01T08:00Z")
    assert rows.loc[f"crops/{names[0]}", "camera"] == "vi-c1"  # that of the name
    found = rules(tmp_path / "feed")
    assert [found[name] for name in odd] == ["name", "name", "missing", found[f"crops/{names[3]}"], "link"]
    assert "twice" in {str(reason["rule"]) for reason in reasons(tmp_path / "feed")}
    assert digests(tmp_path / "crops") - of(drop.files) == digests(tmp_path / "crops") - in_feed(tmp_path / "feed")
    assert b"secret" not in {file.read_bytes() for file in (tmp_path / "feed").rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path\n", "no row"),
        ("file\na.jpg\n", "missing: path, unknown: file"),
        ("path,tracklet\na.jpg,x\n", "row 0: tracklet is 'x'"),
        ("path,person\na.jpg,4\n", "unknown: person"),
        ("path,camera\na.jpg,\nb.jpg,gate 3\n", "row 1: camera is 'gate 3', expected a name"),
        ("path,camera\na.jpg,../x\n", r"row 0: camera is '\.\./x'"),
    ],
)
def test_an_unusable_table_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        take(tmp_path / "list.csv", tmp_path / "feed")
    assert not (tmp_path / "feed").exists()


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A video of 10 frames a second: frame n is 64 x 96 pixels of brightness 20 n."""
    import cv2

    file = tmp_path / "gate_20260302T060000Z.avi"
    out = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 96))
    for number in range(10):
        out.write(np.full((96, 64, 3), 20 * number, dtype=np.uint8))
    out.release()
    return file


def test_crops_are_cut_from_a_video_by_boxes(tmp_path: Path, film: Path) -> None:
    lines = ["frame,x,y,width,height,tracklet", "3,10,20,16,40,7", "7,0,0,64,96,", "3,-8,0,32,32,7"]
    lines += ["4,60,0,32,32,7", "5,200,200,20,20,8", "11,0,0,20,20,8"]
    (tmp_path / "boxes.csv").write_text("\n".join(lines) + "\n")
    _, profile = take(film, tmp_path / "feed", boxes=tmp_path / "boxes.csv")
    images = profile[profile["decode_ok"]].set_index("path")
    assert images.index.tolist() == [
        "frame-0000003-0000002.png",
        "frame-0000003-0000004.png",
        "frame-0000007-0000003.png",
    ]
    assert images["width"].tolist() == [16, 24, 64] and images["height"].tolist() == [40, 32, 96]
    assert images["brightness"].to_numpy() == pytest.approx([60, 60, 140], abs=3)
    assert images["tracklet"].tolist() == [7, 7, -1]
    assert images["timestamp"].tolist()[2] == pd.Timestamp("2026-03-02T06:00:00.7Z")
    found = rules(tmp_path / "feed")
    assert set(found.values()) == {"frame"} and len(found) == 3  # an eighth inside, none inside, no such frame
    assert film.exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,2,3,0,4,5", "width is '0'"),
        ("1,2.5,3,4,4,5", "x is '2.5'"),
        ("-1,2,3,4,4,5", "frame is '-1'"),
        ("1,two,3,4,4,5", "x is 'two'"),
    ],
)
def test_boxes_that_are_no_boxes_are_refused(tmp_path: Path, film: Path, line: str, said: str) -> None:
    (tmp_path / "boxes.csv").write_text(f"frame,x,y,width,height,tracklet\n0,1,1,9,9,1\n{line}\n")
    with pytest.raises(InputError, match=f"line 3: {said}"):
        take(film, tmp_path / "feed", boxes=tmp_path / "boxes.csv")
    assert not (tmp_path / "feed").exists()


def test_boxes_of_more_cells_than_columns_are_refused(tmp_path: Path, film: Path) -> None:
    (tmp_path / "boxes.csv").write_text("frame,x,y,width,height\n0,10,20,30,60,5\n")
    with pytest.raises(InputError, match=r"boxes\.csv: more cells in its first line than columns"):
        take(film, tmp_path / "feed", boxes=tmp_path / "boxes.csv")
    assert not (tmp_path / "feed").exists()


def test_a_folder_has_no_boxes_and_stays_where_it_was(tmp_path: Path, drop: faults.Drop) -> None:
    source = drop.write(tmp_path / "drop")
    (tmp_path / "boxes.csv").write_text("frame,x,y,width,height\n0,1,1,9,9\n")
    with pytest.raises(InputError, match="drop: a folder, and --boxes are those of one video"):
        take(source, tmp_path / "feed", boxes=tmp_path / "boxes.csv")
    assert digests(source) == of(drop.files) and not (tmp_path / "feed").exists()


def test_other_boxes_of_a_video_are_another_feed(tmp_path: Path, film: Path) -> None:
    boxes, other = tmp_path / "boxes.csv", tmp_path / "other.csv"
    for file in (boxes, other):
        file.write_text("frame,x,y,width,height\n0,1,1,9,9\n")
    take(film, tmp_path / "feed", boxes=boxes)
    take(film, tmp_path / "feed", boxes=boxes)  # again
    with pytest.raises(InputError, match=r"the feed of boxes '.*/boxes\.csv', not '.*/other\.csv'"):
        take(film, tmp_path / "feed", boxes=other)
    boxes.write_text("frame,x,y,width,height\n0,1,1,19,19\n")
    with pytest.raises(InputError, match=r"boxes\.csv, which has changed since"):
        take(film, tmp_path / "feed", boxes=boxes)
    boxes.unlink()
    take(film, tmp_path / "feed", boxes=boxes)  # what was claimed needs them no more


def test_a_video_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"no film" * 100)
    (tmp_path / "boxes.csv").write_text("frame,x,y,width,height\n0,1,1,9,9\n")
    with pytest.raises(InputError, match="cannot be read as a video"):
        take(tmp_path / "film.mp4", tmp_path / "feed", boxes=tmp_path / "boxes.csv")
    assert not (tmp_path / "feed").exists()


def no_file(tmp_path: Path) -> Path:
    return tmp_path / "nowhere"


def empty_folder(tmp_path: Path) -> Path:
    (tmp_path / "drop" / "inner").mkdir(parents=True)
    return tmp_path / "drop"


def empty_archive(tmp_path: Path) -> Path:
    return tar_of([], tmp_path / "drop.tar", "w")


def other_file(tmp_path: Path) -> Path:
    (tmp_path / "drop.txt").write_text("words")
    return tmp_path / "drop.txt"


def linked(tmp_path: Path) -> Path:
    (tmp_path / "real").mkdir()
    (tmp_path / "drop").symlink_to(tmp_path / "real")
    return tmp_path / "drop"


def around(tmp_path: Path) -> Path:
    (tmp_path / "a.jpg").write_bytes(b"x")
    return tmp_path


@pytest.mark.parametrize("make", [no_file, empty_folder, empty_archive, other_file, linked, around])
def test_what_cannot_be_claimed_is_left_alone(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    source = make(tmp_path)
    with pytest.raises(InputError, match=r"Expected|Give|Move"):
        take(source, tmp_path / "feed")
    assert not (tmp_path / "feed").exists()


def test_a_call_that_was_killed_as_it_wrote_its_first_file_goes_on(tmp_path: Path, drop: faults.Drop) -> None:
    source = drop.write(tmp_path / "drop")
    (tmp_path / "feed").mkdir()
    (tmp_path / "feed" / f".{FEED_FILE}.k1ll3d.json").write_text('{"camera": ')
    take(source, tmp_path / "feed")
    assert in_feed(tmp_path / "feed") == of(drop.files)
    assert not list((tmp_path / "feed").glob(".*.json"))


def test_a_folder_of_other_things_is_not_used(tmp_path: Path, drop: faults.Drop) -> None:
    source = drop.write(tmp_path / "drop")
    (tmp_path / "feed").mkdir()
    (tmp_path / "feed" / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="not a feed folder"):
        take(source, tmp_path / "feed")
    assert digests(source) == of(drop.files) and (tmp_path / "feed" / "thesis.txt").exists()


def test_another_feed_is_not_mixed_in(tmp_path: Path, drop: faults.Drop) -> None:
    take(drop.write(tmp_path / "drop"), tmp_path / "feed")
    with pytest.raises(InputError, match="camera 'vi-c1', not 'vi-c2'"):
        take(tmp_path / "drop", tmp_path / "feed", declared=replace(DECLARED, camera="vi-c2"))
    drop.write(tmp_path / "drop")
    with pytest.raises(InputError, match="new files"):
        take(tmp_path / "drop", tmp_path / "feed")
    assert digests(tmp_path / "drop") == of(drop.files)


def test_too_little_space_is_said_before_anything_is_written(
    tmp_path: Path, drop: faults.Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = drop.write(tmp_path / "drop")
    monkeypatch.setattr(intake, "SPACE", 10**18)
    with pytest.raises(InputError, match="free"):
        take(source, tmp_path / "feed")
    assert digests(source) == of(drop.files) and not (tmp_path / "feed").exists()


def test_a_disk_that_fills_up_while_it_is_copied_leaves_nothing(tmp_path: Path, drop: faults.Drop) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24k", "none", str(small)], capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(intake, "SPACE", -(10**9))  # the check before the work would refuse it at once
            with pytest.raises(InputError, match="disk is full"):
                take(drop.write(tmp_path / "drop"), small / "feed")
        assert list(small.iterdir()) == [] and digests(tmp_path / "drop") == of(drop.files)
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_without_permission_nothing_is_moved(open_folder: Path, drop: faults.Drop) -> None:
    """As another user, as nothing is forbidden to the superuser."""
    if os.geteuid() != 0:
        pytest.skip("another user can only be had by the superuser")
    source, out = drop.write(open_folder / "drop"), open_folder / "out"
    out.mkdir()
    out.chmod(0o777)
    script = (
        "import os, sys; sys.path[:0] = sys.argv[3:]\n"
        "from pathlib import Path; from deliveries import take; from itkm.errors import InputError\n"
        "os.setuid(65534)\n"
        "try: take(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except InputError as error: print(error); sys.exit(2)\n"
    )
    paths = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "feeds")]
    command = [sys.executable, "-c", script, str(source), str(out / "feed"), *paths]
    done = subprocess.run(command, capture_output=True, text=True, cwd=open_folder)
    assert done.returncode == 2 and "drop: no permission" in done.stdout, done.stdout + done.stderr
    assert digests(source) == of(drop.files) and not (out / "feed").exists()


def test_two_processes_do_not_work_on_one_feed(tmp_path: Path, drop: faults.Drop) -> None:
    from itkm.files import locked

    (tmp_path / "feed").mkdir()
    script = "import sys; from pathlib import Path; from itkm.files import locked\nwith locked(Path(sys.argv[1])): pass"
    command = [sys.executable, "-c", script, str(tmp_path / "feed")]
    with locked(tmp_path / "feed"):
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and "another `itkm` command works here" in done.stderr
    assert subprocess.run(command, cwd=ROOT).returncode == 0


@pytest.mark.parametrize("camera", ["", "../x", "c 1", "c" * 65, "c/1", "ü"])
def test_a_camera_that_could_not_name_a_file_is_refused(camera: str) -> None:
    with pytest.raises(InputError, match="--camera"):
        replace(DECLARED, camera=camera)


def test_a_slip_of_the_pen_is_no_new_camera(tmp_path: Path) -> None:
    data = faults.accepted(tmp_path, "vi", without="vi-c1", limit=2)
    intake.require_declared(replace(DECLARED, camera="vi-c2"), data, new_camera=False)
    intake.require_declared(DECLARED, data, new_camera=True)
    intake.require_declared(DECLARED, tmp_path / "nothing-yet", new_camera=False)
    with pytest.raises(InputError, match=r"Did you mean vi-c\d\? Add --new-camera"):
        intake.require_declared(DECLARED, data, new_camera=False)
    with pytest.raises(InputError, match="has the groups infrared, visible"):
        intake.require_declared(replace(DECLARED, group="infra"), data, new_camera=True)


def test_the_reason_stands_beside_the_file(tmp_path: Path, drop: faults.Drop) -> None:
    take(drop.write(tmp_path / "drop"), tmp_path / "feed")
    name = sorted(drop.planted["html"])[0]
    reason = json.loads((tmp_path / "feed" / QUARANTINE / f"{name}.reason.json").read_text())
    assert reason["file"] == reason["name"] == name and reason["rule"] == "type" and name in reason["message"]
    assert reason["bytes"] == len(drop.files[name])
