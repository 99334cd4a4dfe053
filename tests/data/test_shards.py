"""Shards: random access equals what went in, the bytes are deterministic, and nothing half-written stays."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from itkm.data import shards
from itkm.data.manifest import read_manifest
from itkm.data.shards import ShardReader, ShardWriter, index_shard, members_of, unlisted_shards, write_scenario
from itkm.errors import InputError

MakeImage = Callable[..., bytes]
MakeRow = Callable[..., dict[str, Any]]


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def some_images(make_row: MakeRow, number: int = 30) -> list[tuple[dict[str, Any], bytes]]:
    return [
        (make_row(source=f"é {i:03d}.png", camera=f"c{i % 3}", person=i), bytes([i % 256]) * (i * 37 + 1))
        for i in range(number)
    ]


def test_random_access_equals_what_was_written(tmp_path: Path, make_row: MakeRow) -> None:
    images = some_images(make_row)
    frame = write_scenario(images, tmp_path)
    contents = {row["source"]: content for row, content in images}
    assert frame["source"].tolist() == list(contents)
    reader = ShardReader(tmp_path)
    for shard, path, source in (
        frame[["shard", "path", "source"]].sample(frac=1, random_state=0).itertuples(index=False)
    ):
        assert reader.read(shard, path) == contents[source]
    assert sorted(name for shard in set(frame["shard"]) for name in reader.names(shard)) == sorted(frame["path"])


def test_the_manifest_comes_back_as_it_was_returned(tmp_path: Path, make_row: MakeRow) -> None:
    pd.testing.assert_frame_equal(write_scenario(some_images(make_row), tmp_path), read_manifest(tmp_path))


def test_standard_tools_read_the_shards(tmp_path: Path, make_row: MakeRow) -> None:
    images = some_images(make_row, 4)
    first, second = write_scenario(images, tmp_path)["path"][[0, 3]]
    with tarfile.open(tmp_path / "shards/c0.tar") as tar:
        assert [member.name for member in tar] == [first, second]
        stream = tar.extractfile(second)
        assert stream is not None
        assert stream.read() == images[3][1]


def test_the_same_images_give_the_same_bytes(tmp_path: Path, make_row: MakeRow) -> None:
    write_scenario(some_images(make_row), tmp_path / "a")
    write_scenario(iter(some_images(make_row)), tmp_path / "b")
    write_scenario(some_images(make_row), tmp_path / "a")  # once more over itself
    assert files_below(tmp_path / "a") == files_below(tmp_path / "b")
    with tarfile.open(tmp_path / "a/shards/c0.tar") as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in tar} == {(0, 0, 0, "", 0o644)}


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, make_row: MakeRow) -> None:
    def failing() -> Iterator[tuple[dict[str, Any], bytes]]:
        yield from some_images(make_row)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_scenario(failing(), tmp_path)
    assert files_below(tmp_path) == {}


def test_an_interrupted_write_keeps_what_was_there(tmp_path: Path, make_row: MakeRow) -> None:
    write_scenario(some_images(make_row), tmp_path)
    before = files_below(tmp_path)
    broken = [*some_images(make_row, 5), (make_row(source="c9/x.png", camera="no name"), b"x")]
    with pytest.raises(InputError, match=r"image 5 \('c9/x.png'\): camera is 'no name', expected a name"):
        write_scenario(broken, tmp_path)
    assert files_below(tmp_path) == before


def test_names_taken_twice_are_refused(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "a.tar") as shard:
        shard.add("x.png", b"1")
        with pytest.raises(InputError, match=r"two images are named 'x.png'"):
            shard.add("x.png", b"2")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP"])
def test_members_are_named_by_their_content_alone(
    tmp_path: Path, make_row: MakeRow, make_image: MakeImage, form: str
) -> None:
    content = make_image(form=form)
    frame = write_scenario([(make_row(path="0002_c1.gif", shard="x.tar", source="0002_c1.gif"), content)], tmp_path)
    suffix = {"JPEG": ".jpg", "PNG": ".png", "BMP": ""}[form]
    assert frame["path"].tolist() == [f"c1/{hashlib.sha256(content).hexdigest()[:16]}{suffix}"]
    assert frame["shard"].tolist() == ["shards/c1.tar"]
    assert frame["source"].tolist() == ["0002_c1.gif"]


def test_copies_under_one_camera_get_names_of_their_own(
    tmp_path: Path, make_row: MakeRow, make_image: MakeImage
) -> None:
    cameras = ["c1", "c1", "c2", "c1", "c2"]
    content = make_image()
    stem = hashlib.sha256(content).hexdigest()[:16]
    frame = write_scenario([(make_row(camera=camera), content) for camera in cameras], tmp_path)
    assert frame["path"].tolist() == [
        f"{camera}/{stem}{copy}.png" for camera, copy in zip(cameras, ["", "-1", "", "-2", "-1"], strict=True)
    ]
    reader = ShardReader(tmp_path)
    assert {reader.read(shard, path) for shard, path in zip(frame["shard"], frame["path"], strict=True)} == {content}


def test_an_image_that_is_too_large_is_named_as_people_find_it(
    tmp_path: Path, make_row: MakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("itkm.data.shards.MAX_MEMBER_BYTES", 10)
    with pytest.raises(InputError, match=r"^mine/7\.png, packed as c1/\w{16}: 11 bytes, expected at most 10"):
        write_scenario([(make_row(source="mine/7.png"), b"0" * 11)], tmp_path)
    assert files_below(tmp_path) == {}


def test_no_image_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no image to write"):
        write_scenario([], tmp_path)


def test_missing_members_and_shards_are_named(tmp_path: Path, make_row: MakeRow) -> None:
    write_scenario(some_images(make_row), tmp_path)
    reader = ShardReader(tmp_path)
    with pytest.raises(InputError, match=r"c0\.tar: no member 'c0/other.png'"):
        reader.read("shards/c0.tar", "c0/other.png")
    with pytest.raises(InputError, match=r"c9\.tar: no such shard"):
        reader.read("shards/c9.tar", "x")


def test_truncated_and_foreign_files_are_refused(tmp_path: Path, make_row: MakeRow) -> None:
    write_scenario(some_images(make_row), tmp_path)
    whole = (tmp_path / "shards/c2.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: 512 * 3 + 100])
    (tmp_path / "not.tar").write_bytes(b"x" * 2000)
    for shard in ("cut.tar", "not.tar"):
        with pytest.raises(InputError, match=r"cannot be read as a tar"):
            ShardReader(tmp_path).names(shard)


def flip(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


DAMAGE: dict[str, Callable[[bytes, int], bytes]] = {
    "flipped": flip,
    "zeroed": lambda whole, header: whole[:header] + bytes(512) + whole[header + 512 :],
    "cut": lambda whole, header: whole[:header],
    "cut within": lambda whole, header: whole[: header + 100],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_shard_is_not_taken_for_a_shorter_one(tmp_path: Path, make_row: MakeRow, damage: str) -> None:
    write_scenario(some_images(make_row), tmp_path)
    file = tmp_path / "shards/c2.tar"
    with tarfile.open(file) as tar:
        header = tar.getmembers()[4].offset
    file.write_bytes(DAMAGE[damage](file.read_bytes(), header))
    with pytest.raises(InputError, match=r"c2\.tar: cannot be read as a tar"):
        ShardReader(tmp_path).names("shards/c2.tar")


@pytest.mark.parametrize("mode", ["r:", "r|"])
@pytest.mark.parametrize("packer", ["python", "gnu", "no padding", "empty"])
def test_a_whole_tar_is_read_whoever_wrote_it(tmp_path: Path, packer: str, mode: Any) -> None:
    names = [] if packer == "empty" else [f"{number}{'x' * 60 * number}.jpg" for number in range(4)]
    file = tmp_path / "a.tar"
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(bytes([number]) * 700 * number)
    if packer == "gnu":
        subprocess.run(["tar", "-cf", file, *names], cwd=tmp_path, check=True)
    else:
        with tarfile.open(file, "w") as tar:
            for name in names:
                tar.add(tmp_path / name, name)
    if packer == "no padding":
        blocks = -(-len(file.read_bytes().rstrip(b"\0")) // 512)
        os.truncate(file, 512 * (blocks + 1))
    with tarfile.open(file, mode) as tar:
        assert [member.name for member in members_of(tar)] == names


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_special_members_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        member = tarfile.TarInfo("x.png")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(InputError, match=r"'x.png' is a link, a folder or a special file"):
        ShardReader(tmp_path).read("evil.tar", "x.png")


def test_compressed_and_oversized_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("itkm.data.shards.MAX_MEMBER_BYTES", 10)
    for mode, name in (("w:gz", "packed.tar"), ("w", "large.tar")):
        with tarfile.open(tmp_path / name, mode) as tar:  # type: ignore[call-overload]
            member = tarfile.TarInfo("x.png")
            member.size = 11
            tar.addfile(member, io.BytesIO(b"0" * 11))
    with pytest.raises(InputError, match=r"cannot be read as a tar"):
        ShardReader(tmp_path).names("packed.tar")
    with pytest.raises(InputError, match=r"exceeds the limits"):
        ShardReader(tmp_path).names("large.tar")
    with pytest.raises(InputError, match=r"expected at most 10"), ShardWriter(tmp_path / "new.tar") as shard:
        shard.add("x.png", b"0" * 11)
    assert not (tmp_path / "new.tar").exists()


def test_threads_share_one_reader_and_index_once(
    tmp_path: Path, make_row: MakeRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = some_images(make_row, 300)
    frame = write_scenario([(row, content[:200]) for row, content in images], tmp_path)
    opened: list[Path] = []

    def counted(file: Path) -> dict[str, shards.Place]:
        opened.append(file)
        return index_shard(file)

    monkeypatch.setattr(shards, "index_shard", counted)
    reader = ShardReader(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(reader.read, frame["shard"], frame["path"]))
    assert read == [content[:200] for _, content in images]
    assert len(opened) == 3


def test_a_reader_survives_a_fork(tmp_path: Path, make_row: MakeRow) -> None:
    images = some_images(make_row, 6)
    frame = write_scenario(images, tmp_path)
    reader = ShardReader(tmp_path)
    reader.read(frame["shard"][0], frame["path"][0])  # indexed before the fork
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)

    def child() -> None:
        send.send([reader.read(shard, path) for shard, path in zip(frame["shard"], frame["path"], strict=True)])

    process = context.Process(target=child)
    process.start()
    try:
        assert receive.poll(20)
        assert receive.recv() == [content for _, content in images]
    finally:
        process.join(20)


def test_unlisted_shards_leave_out_temporary_files(tmp_path: Path) -> None:
    for name in ("shards/a.tar", "feeds/c1/day.tar", "shards/.a.tar.x.tar", ".itkm/import/shards/b.tar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert unlisted_shards(tmp_path, {"shards/a.tar"}) == ["feeds/c1/day.tar"]
