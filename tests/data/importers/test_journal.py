"""An import that is killed goes on where it was, one that is complete is left alone, and sources are never mixed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from itkm.data import shards
from itkm.data.check import check_dataset
from itkm.data.importers import ImportSummary, Request, import_dataset, journal
from itkm.data.importers.source import Groups, SourceImage
from itkm.data.manifest import read_manifest, write_manifest
from itkm.data.shards import ShardReader
from itkm.errors import InputError
from itkm.files import locked
from trees import write_images

GROUPS: Groups = {"high": ["c1", "c2"], "low": ["c3"]}
NAMES = [f"c{camera}/{number}.png" for camera in (1, 2, 3) for number in range(4)]

# Imports what it is told to, and stops for ever before the image of the given number.
KILLED = """
import sys, time
from pathlib import Path
from itkm.data.importers import Request, import_dataset

def hang(images):
    for number, image in enumerate(images):
        if number == int(sys.argv[3]):
            print("hanging", flush=True)
            time.sleep(600)
        yield image

groups = {"high": ["c1", "c2"], "low": ["c3"]}
import_dataset("folder", Request(Path(sys.argv[1]), "s", groups), out=Path(sys.argv[2]), progress=hang)
"""


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """Three cameras with four images each, two of them alike."""
    write_images(tmp_path / "crops", NAMES)
    shutil.copy(tmp_path / "crops/c2/0.png", tmp_path / "crops/c2/3.png")
    return tmp_path / "crops"


def run(source: Path, out: Path, seen: list[str] | None = None, *, allow_partial: bool = False) -> ImportSummary:
    """An import that notes the images it reads."""

    def note(images: Sequence[SourceImage]) -> Iterator[SourceImage]:
        for image in images:
            if seen is not None:
                seen.append(str(image.row["source"]))
            yield image

    return import_dataset("folder", Request(source, "s", GROUPS, allow_partial), out=out, progress=note)


def kill(source: Path, out: Path, *, before: int) -> None:
    """Starts an import in a process of its own and kills it with SIGKILL before an image."""
    command = [sys.executable, "-c", KILLED, str(source), str(out), str(before)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "hanging\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def times(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


@pytest.mark.parametrize(("before", "left"), [(0, 12), (5, 8), (8, 4), (11, 4)])
def test_a_killed_import_goes_on_after_the_finished_shards(crops: Path, tmp_path: Path, before: int, left: int) -> None:
    run(crops, tmp_path / "whole")
    kill(crops, tmp_path / "out", before=before)
    assert not (tmp_path / "out/manifest.parquet").exists()
    assert not (tmp_path / "out/shards").exists()
    seen: list[str] = []
    summary = run(crops, tmp_path / "out", seen)
    assert seen == NAMES[12 - left :]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert (summary.images, summary.skipped, summary.warnings) == (12, 0, ())


def test_it_may_be_killed_again_and_again(crops: Path, tmp_path: Path) -> None:
    for before in (5, 5, 3):  # in the second camera, in the third, and there again
        kill(crops, tmp_path / "out", before=before)
        assert len(list((tmp_path / "out/.itkm").rglob(".*.tar"))) == 1  # what was cut off, and none of earlier ones
    seen: list[str] = []
    run(crops, tmp_path / "out", seen)
    run(crops, tmp_path / "whole")
    assert seen == NAMES[8:]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("moved", range(5))
def test_cut_off_while_files_are_put_in_place(
    crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    run(crops, tmp_path / "whole")
    write_images(tmp_path / "old", [f"c{n}/9.png" for n in (1, 2, 3)])
    run(tmp_path / "old", tmp_path / "out")  # an earlier import of something else
    calls: list[Path] = []
    move = journal._move

    def cut_off(staged: Path, target: Path) -> None:
        if len(calls) == moved:
            raise KeyboardInterrupt
        calls.append(target)
        move(staged, target)

    def cut_off_at_the_end(path: Path, value: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(journal, "_move", cut_off)
        patched.setattr(journal, "write_json", cut_off_at_the_end)
        with pytest.raises(KeyboardInterrupt):
            run(crops, tmp_path / "out")
    if moved < 4:
        assert not (tmp_path / "out/manifest.parquet").exists()  # never the old one over new shards
    seen: list[str] = []
    run(crops, tmp_path / "out", seen)
    assert seen == []
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_an_earlier_import_stays_whole_until_the_new_one_is(crops: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "old", [f"c{n}/9.png" for n in (1, 2, 3)])
    run(tmp_path / "old", tmp_path / "out")
    before = contents(tmp_path / "out")
    kill(crops, tmp_path / "out", before=10)
    after = contents(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    seen: list[str] = []
    assert run(tmp_path / "old", tmp_path / "out", seen).images == 3  # complete as it was
    assert seen == []


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda crops: write_images(crops, ["c1/new.png"]) or (crops / "c1/new.png").replace(crops / "c1/0.png"),
    "time": lambda crops: os.utime(crops / "c1/0.png", ns=(0, 1)),
    "removed": lambda crops: (crops / "c1/0.png").unlink(),
    "added": lambda crops: write_images(crops, ["c3/7.png"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_source_that_changed_in_between_is_not_mixed(crops: Path, tmp_path: Path, change: str) -> None:
    kill(crops, tmp_path / "out", before=9)
    CHANGES[change](crops)
    seen: list[str] = []
    summary = run(crops, tmp_path / "out", seen)
    run(crops, tmp_path / "whole")
    assert len(seen) == summary.images
    assert "was cut off here had other images or options, and was not resumed" in summary.warnings[0]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_the_folder_stays_held_while_another_listing_begins_anew(crops: Path, tmp_path: Path) -> None:
    kill(crops, tmp_path / "out", before=9)

    def second(images: Sequence[SourceImage]) -> Sequence[SourceImage]:
        with pytest.raises(InputError, match="another `itkm` command works here"):
            run(crops, tmp_path / "out")
        return images

    request = Request(crops, "s", GROUPS, allow_partial=True)
    assert import_dataset("folder", request, out=tmp_path / "out", progress=second).images == 12


def test_other_options_are_not_resumed(crops: Path, tmp_path: Path) -> None:
    kill(crops, tmp_path / "out", before=9)
    seen: list[str] = []
    run(crops, tmp_path / "out", seen, allow_partial=True)
    assert len(seen) == 12


def test_again_after_success_reads_no_image_and_touches_nothing(crops: Path, tmp_path: Path) -> None:
    first = run(crops, tmp_path / "out")
    before = contents(tmp_path / "out"), times(tmp_path / "out")
    seen: list[str] = []
    assert run(crops, tmp_path / "out", seen) == first
    assert seen == []
    assert (contents(tmp_path / "out"), times(tmp_path / "out")) == before


def test_two_imports_do_not_work_in_one_folder(crops: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "out/.itkm"), pytest.raises(InputError, match="another `itkm` command works here"):
        run(crops, tmp_path / "out")
    assert run(crops, tmp_path / "out").images == 12


def test_images_of_accepted_feeds_are_not_taken_out_of_the_manifest(crops: Path, tmp_path: Path) -> None:
    run(crops, tmp_path / "out")
    feed = tmp_path / "out/feeds/c9/2026-03-03.tar"
    feed.parent.mkdir(parents=True)
    feed.write_bytes((tmp_path / "out/shards/c1.tar").read_bytes())
    manifest = read_manifest(tmp_path / "out")
    added = manifest[manifest["camera"] == "c1"].assign(shard="feeds/c9/2026-03-03.tar", camera="c9")
    time.sleep(0.02)  # a clock may tick only so often
    write_manifest(pd.concat([manifest, added], ignore_index=True), tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(InputError, match=r"out: holds accepted feeds \(feeds/c9/2026-03-03.tar\)"):
        run(crops, tmp_path / "out")
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("harm", ["shard removed", "shard changed", "manifest removed", "source changed", "no record"])
def test_what_is_not_as_it_was_left_is_imported_again(crops: Path, tmp_path: Path, harm: str) -> None:
    run(crops, tmp_path / "out")
    shard = tmp_path / "out/shards/c2.tar"
    if harm == "shard removed":
        shard.unlink()
    elif harm == "shard changed":
        time.sleep(0.02)  # a clock may tick only so often
        shard.write_bytes(b"x" * shard.stat().st_size)
    elif harm == "manifest removed":
        (tmp_path / "out/manifest.parquet").unlink()
    elif harm == "source changed":
        os.utime(crops / "c1/0.png", ns=(0, 1))
    else:
        (tmp_path / "out/.itkm/import.json").write_text("not json", encoding="utf-8")
    seen: list[str] = []
    run(crops, tmp_path / "out", seen)
    assert seen == NAMES
    run(crops, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_images_left_out_are_still_told_after_a_resume(crops: Path, tmp_path: Path) -> None:
    (crops / "c1/1.png").write_bytes(b"broken")
    (crops / "c3/2.png").write_bytes(b"broken")

    def cut_off(images: Iterable[SourceImage]) -> Iterator[SourceImage]:
        for number, image in enumerate(images):
            if number == 9:
                raise KeyboardInterrupt
            yield image

    request = Request(crops, "s", GROUPS, allow_partial=True)
    with pytest.raises(KeyboardInterrupt):
        import_dataset("folder", request, out=tmp_path / "out", progress=cut_off)
    for seen in (NAMES[8:], []):  # resumed, and once more when all is done
        read: list[str] = []
        summary = run(crops, tmp_path / "out", read, allow_partial=True)
        assert read == seen
        assert (summary.images, summary.skipped) == (10, 2)
        assert [warning.split(":")[0] for warning in summary.warnings] == [f"{crops}/c1/1.png", f"{crops}/c3/2.png"]


def test_a_camera_of_which_nothing_can_be_read_leaves_no_shard(crops: Path, tmp_path: Path) -> None:
    write_images(crops, ["c4/0.png"])
    (crops / "c4/0.png").write_bytes(b"broken")
    groups = {"high": ["c1", "c2"], "low": ["c3", "c4"]}
    request = Request(crops, "s", groups, allow_partial=True)
    assert import_dataset("folder", request, out=tmp_path / "out").images == 12
    assert sorted(path.name for path in (tmp_path / "out/shards").iterdir()) == ["c1.tar", "c2.tar", "c3.tar"]


def test_a_failure_leaves_nothing_and_keeps_what_was_complete(crops: Path, tmp_path: Path) -> None:
    (crops / "c3/2.png").write_bytes(b"broken")
    with pytest.raises(InputError, match="cannot be decoded"):
        run(crops, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    write_images(crops, NAMES)
    run(crops, tmp_path / "out")
    before = contents(tmp_path / "out")
    (crops / "c3/2.png").write_bytes(b"broken")
    with pytest.raises(InputError, match="cannot be decoded"):
        run(crops, tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_a_camera_of_very_many_images_gets_several_shards(
    crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(crops, [f"c2/more{number}.png" for number in range(30)])
    monkeypatch.setattr(shards, "SHARD_IMAGES", 12)
    summary = run(crops, tmp_path / "out")
    frame = read_manifest(tmp_path / "out")
    assert set(frame["shard"]) == {"shards/c1.tar", "shards/c3.tar", *(f"shards/c2/{part}.tar" for part in range(3))}
    assert (summary.images, frame["path"].is_unique, summary.warnings) == (42, True, ())
    order = [source for source in frame["source"] if source.startswith("c2/")]
    assert order == sorted(order)  # rows stay as they were listed
    in_c2 = frame[frame["camera"] == "c2"]
    assert not (np.diff(in_c2["shard"].str[-5].astype(int)) >= 0).all()  # a part is not a run of the list
    reader = ShardReader(tmp_path / "out")
    for shard, path, source in frame[["shard", "path", "source"]].itertuples(index=False):
        assert reader.read(shard, path) == (crops / source).read_bytes()
    assert not [found for found in check_dataset(tmp_path / "out") if "shard" in found.rule or "path" in found.rule]
