"""A purge finds every byte: in data, cache, remotes and results, in old versions too, and after any interruption."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from itkm.cli import main
from itkm.data.check import check_dataset
from itkm.data.manifest import names_of, read_manifest
from itkm.data.shards import HIDDEN, ShardReader, write_scenario
from itkm.errors import InputError
from itkm.evaluation.features import FeatureSet
from itkm.feeds.feed import FEED_FILE, PROFILE_FILE, REPORT_FILE, Feed
from itkm.feeds.reference import CACHE
from itkm.files import locked
from itkm.purge import erase as carried_out
from itkm.purge.erase import erase
from itkm.purge.plan import Plan, make_plan
from itkm.purge.traces import Subject
from itkm.retrieval.gallery import Gallery
from tiny import make_crop, scenario_rows

pytest.importorskip("dvc")

GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
STAGE = """
stages:
  extract:
    cmd: "true"
    outs: [artifacts/features/vi.npz, artifacts/features/cc.npz]
  report:
    cmd: "true"
    outs: [reports/report.html]
"""
CAMERA, PERSON = Subject("vi", camera="c1"), Subject("vi", person=2)


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run([*GIT, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def images_of(scenario: str) -> list[tuple[dict[str, object], bytes]]:
    """48 images of 4 persons; the first of camera c1 is in both scenarios, all others differ."""
    vi = list(scenario_rows("vi"))
    if scenario == "vi":
        return vi
    others = [(row, make_crop(100 + number, number)) for number, (row, _) in enumerate(scenario_rows("cc"))]
    return [(others[0][0], vi[0][1]), *others[1:]]


def write_results(root: Path, salt: str) -> None:
    """A page that shows every image, and features, as the stages leave them."""
    (root / "artifacts" / "features").mkdir(parents=True, exist_ok=True)
    (root / "reports").mkdir(exist_ok=True)
    pictures = list(contents(root, "vi").values()) + list(contents(root, "cc").values())
    (root / "reports" / "report.html").write_bytes(salt.encode() + b"".join(pictures))
    for scenario in ("vi", "cc"):
        count = len(read_manifest(root / "data" / scenario))
        np.savez(root / "artifacts" / "features" / f"{scenario}.npz", features=np.full((count, 2), len(salt)))


def contents(root: Path, scenario: str) -> dict[str, bytes]:
    """The file of every image of a scenario, by its path."""
    folder = root / "data" / scenario
    reader = ShardReader(folder)
    rows = read_manifest(folder)
    return {path: reader.read(shard, path) for path, shard in zip(rows["path"], rows["shard"], strict=True)}


def theirs(root: Path, subject: Subject) -> list[bytes]:
    rows = read_manifest(root / "data" / subject.scenario)
    paths = rows["path"][subject.rows(rows)]
    every = contents(root, subject.scenario)
    return [every[path] for path in paths]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project of two versions under git and DVC, and its remotes: one beside it, one in git."""
    from dvc.repo import Repo

    base = tmp_path_factory.mktemp("purge")
    root = base / "project"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(root):
        patch.setenv("DVC_SITE_CACHE_DIR", str(base / "site"))
        git(root, "init", "-q")
        repo = Repo.init()
        (root / ".dvc" / "config").write_text(
            "[core]\n    remote = inside\n    analytics = false\n"
            "['remote \"inside\"']\n    url = ../storage\n['remote \"beside\"']\n    url = ../../beside\n"
        )
        (root / ".gitignore").write_text("/data\n/artifacts\n/reports\n.itkm/\n")
        (root / "dvc.yaml").write_text(STAGE)
        for persons, salt in ((3, "one"), (4, "two")):
            for scenario in ("vi", "cc"):
                rows = [own for own in images_of(scenario) if own[0]["person"] <= persons]
                write_scenario(rows, root / "data" / scenario)
            write_results(root, salt)
            repo = Repo(str(root))
            repo.add("data")
            repo.commit(force=True)
            for remote in ("inside", "beside"):
                repo.push(remote=remote)
            git(root, "add", "--all")
            git(root, "commit", "-qm", salt)
    return base


@pytest.fixture
def root(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project, as the current folder, with what else may lie there."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True, symlinks=True)
    root = tmp_path / "project"
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(root)
    rows = read_manifest(root / "data" / "vi")
    features = np.arange(2 * len(rows), dtype=np.float32).reshape(-1, 2) + 1
    unknown = np.zeros(len(rows), dtype=np.int64)
    Gallery(
        FeatureSet(features, unknown, unknown, scenario=np.full(len(rows), "vi"), path=names_of(rows)),
        projected=features,
        model="m",
    ).save(root / "gallery.npz")
    (root / "copies").mkdir()
    for number, content in enumerate(contents(root, "vi").values()):
        (root / "copies" / f"{number}.jpg").write_bytes(content)
    (root / ".itkm" / "checkpoints" / "abc").mkdir(parents=True)
    (root / ".itkm" / "checkpoints" / "abc" / "memory.bin").write_bytes(b"features")
    stray = next((root / "data" / "vi").rglob("c1.tar")).read_bytes()
    place = root / ".dvc" / "cache" / "files" / "md5" / "00"
    place.mkdir(exist_ok=True)
    (place / ("0" * 30)).write_bytes(stray)  # an object that no version names
    (root / CACHE).mkdir(parents=True)
    (root / CACHE / "data-infrared-model.npz").write_bytes(b"features")
    shutil.copy(root / "data" / "vi" / "manifest.parquet", root / CACHE / "data.parquet")
    for clone in ("runs/night", "ablation/copy"):
        shutil.copytree(root, root / ".itkm" / clone, symlinks=True, ignore=shutil.ignore_patterns(".itkm"))
    return root


def make_feed(folder: Path, camera: str, images: list[bytes]) -> Path:
    """A judged feed, whose report shows its images small: other bytes than their own."""
    (folder / "images").mkdir(parents=True)
    Feed(camera, "vi", "infrared", source="drop", claimed_at="2026-03-02T06:00:00Z").save(folder)
    for number, content in enumerate(images):
        (folder / "images" / f"{number}.jpg").write_bytes(content)
    names = [f"{number}.jpg" for number in range(len(images))]
    table = {"path": names, "sha256": [hashlib.sha256(content).hexdigest() for content in images]}
    pd.DataFrame(table).to_parquet(folder / PROFILE_FILE)
    (folder / REPORT_FILE).write_text("a small picture of each")
    return folder


def files_with(folder: Path, pictures: list[bytes]) -> list[str]:
    """Every file below a folder, whatever it is, in which the bytes of an image stand; git packs its own."""
    found = []
    for file in sorted(folder.rglob("*")):
        if file.is_file() and ".git" not in file.parts:
            content = file.read_bytes()
            found += [str(file.relative_to(folder))] * any(picture in content for picture in pictures)
    return found


@pytest.mark.parametrize("subject", [CAMERA, PERSON], ids=["camera", "person"])
def test_no_byte_is_left_and_all_others_stay(root: Path, subject: Subject) -> None:
    gone = theirs(root, subject)
    kept = {path: content for path, content in contents(root, "vi").items() if content not in gone}
    others = {path: content for path, content in contents(root, "cc").items() if content not in gone}
    assert len(others) == (47 if subject is CAMERA else 48), "the image that is in both scenarios goes from both"
    before = files_with(root.parent, gone)
    assert len(before) > 12, "data, cache, both remotes, results, copies and the stray object"
    assert (
        main(
            [
                "purge",
                "--scenario",
                "vi",
                f"--{subject.name.split('-')[1]}",
                subject.name.split("-")[2],
                "--yes",
                "--debug",
            ]
        )
        == 0
    )
    assert files_with(root.parent, gone) == []
    assert contents(root, "vi") == kept
    assert contents(root, "cc") == others
    for scenario in ("vi", "cc"):
        assert not [own for own in check_dataset(root / "data" / scenario) if own.severity == "error"]
    assert not list((root / ".itkm").rglob("*.json"))
    assert not list((root / ".itkm").rglob("data")), "clones of the project hold all of it"
    assert not (root / CACHE).exists(), "what feeds were compared with holds features and names"


@pytest.mark.parametrize("subject", [CAMERA, PERSON], ids=["camera", "person"])
def test_no_feed_of_the_camera_and_no_report_that_shows_the_images_is_left(root: Path, subject: Subject) -> None:
    (seen, *_), strange = theirs(root, subject), make_crop(77, 1)
    refused = make_feed(root / "feeds" / "drop", "c1", [strange])
    again = make_feed(root / ".itkm" / "feeds" / "runs" / "7", "c9", [seen, strange])
    other = make_feed(root / "feeds" / "other", "c9", [strange])
    erase(make_plan(root, subject))
    assert refused.exists() == (subject is PERSON)
    assert sorted(file.name for file in again.rglob("*.*")) == ["1.jpg", "feed.json", "profile.parquet"]
    assert pd.read_parquet(again / PROFILE_FILE)["path"].tolist() == ["1.jpg"]
    assert (other / REPORT_FILE).exists()


def test_a_feed_that_nobody_can_read_stops_it_before_anything_changes(root: Path) -> None:
    (make_feed(root / "drop", "c1", []) / FEED_FILE).write_text("{")
    before = contents(root, "vi")
    with pytest.raises(InputError, match=r"drop/feed\.json: not a feed"):
        erase(make_plan(root, CAMERA))
    assert contents(root, "vi") == before and (root / "gallery.npz").exists()


@pytest.mark.parametrize("place", ["old.tar", "data/cc/shards/c2.tar", ".dvc/cache/files/md5/00/" + "0" * 30])
def test_a_damaged_tar_stops_it_before_anything_changes(root: Path, place: str) -> None:
    content = bytearray((root / "data" / "cc" / "shards" / "c2.tar").read_bytes())
    with tarfile.open(root / "data" / "cc" / "shards" / "c2.tar") as tar:
        content[tar.getmembers()[1].offset] ^= 1
    (root / place).unlink(missing_ok=True)
    (root / place).write_bytes(content)
    gone = theirs(root, CAMERA)
    before = files_with(root.parent, gone)
    with pytest.raises(InputError, match=f"{place}: a tar that cannot be read to its end"):
        erase(make_plan(root, CAMERA))
    assert files_with(root.parent, gone) == before


def test_a_damaged_object_of_a_version_is_named(root: Path) -> None:
    whole = (root / "data" / "vi" / "shards" / "c1.tar").read_bytes()
    name = hashlib.md5(whole).hexdigest()
    place = root / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]
    place.unlink()
    place.write_bytes(whole[:-20_000])
    with pytest.raises(InputError, match=f"DVC's object {name}, the shard c1.tar of an older version"):
        make_plan(root, CAMERA)


def test_a_camera_whose_feeds_were_all_refused_has_them_named(root: Path) -> None:
    make_feed(root / "drop", "c7", [make_crop(77, 1)])
    with pytest.raises(InputError, match=r"no image of vi-camera-c7 .* Remove its feeds yourself: drop\."):
        make_plan(root, Subject("vi", camera="c7"))


def test_the_new_version_is_pulled_into_a_fresh_clone_from_each_remote(root: Path, tmp_path: Path) -> None:
    from dvc.repo import Repo

    erase(make_plan(root, PERSON))
    expected = contents(root, "vi"), contents(root, "cc")
    git(root, "commit", "-qam", "erased")
    for remote in ("inside", "beside"):
        clone = tmp_path / f"clone-{remote}"
        git(tmp_path, "clone", "-q", str(root), str(clone))
        shutil.copytree(root / "storage", clone / "storage", dirs_exist_ok=True)
        with contextlib.chdir(clone):
            Repo(str(clone)).pull(targets=["data.dvc"], remote=remote)
        assert (contents(clone, "vi"), contents(clone, "cc")) == expected


def test_a_dry_run_lists_all_and_changes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {file: file.read_bytes() for file in root.parent.rglob("*") if file.is_file() and "site" not in file.parts}
    assert main(["purge", "--scenario", "vi", "--camera", "c1"]) == 0
    said = capsys.readouterr().out
    for words in (
        *("vi-camera-c1: 16 images", "data/vi/manifest.parquet: 16 of 48 rows", "data/vi/shards/c1.tar"),
        *("artifacts/features/vi.npz", "reports/report.html", "gallery.npz", "copies/0.jpg", ".itkm/checkpoints"),
        *("cache:", "inside:", "beside:", "found by its content", "git filter-repo", "Nothing was changed. Add --yes"),
    ):
        assert words in said
    assert "data/cc/manifest.parquet: 1 of 48 rows" in said
    after = {file: file.read_bytes() for file in root.parent.rglob("*") if file.is_file() and "site" not in file.parts}
    assert {file: content for file, content in after.items() if "tmp" not in file.parts} == {
        file: content for file, content in before.items() if "tmp" not in file.parts
    }


def test_a_gallery_loses_the_rows_and_no_other(root: Path) -> None:
    rows = read_manifest(root / "data" / "vi")
    stays = ~PERSON.rows(rows)
    before = Gallery.load(root / "gallery.npz")
    erase(make_plan(root, PERSON))
    after = Gallery.load(root / "gallery.npz")
    assert after.images.path is not None and before.images.path is not None
    assert after.images.path.tolist() == before.images.path[stays].tolist()
    np.testing.assert_array_equal(after.images.features, before.images.features[stays])
    assert after.projected is not None and len(after.projected) == stays.sum()
    assert after.model == "m"


class Killed(BaseException):
    """What stands for a kill -9."""


def dies_after(plan: Plan, steps: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Carries a purge out up to some step; True if it came to its end before."""
    done = 0

    def counted(items: object) -> Iterator[object]:
        nonlocal done
        for item in items:  # type: ignore[attr-defined]
            if done == steps:
                raise Killed
            done += 1
            yield item

    with monkeypatch.context() as patch:
        for part in ("in_project", "in_stores"):
            original = getattr(Plan, part)
            patch.setattr(Plan, part, lambda self, original=original: counted(original(self)))
        try:
            erase(plan)
        except Killed:
            return False
    return True


SLOW = [pytest.param(steps, marks=pytest.mark.slow) for steps in (0, 1, 3, 4, 6, 8, 24, 25, 27, 30, 36, 42, 50)]


@pytest.mark.parametrize("steps", [2, 26, *SLOW])
def test_cut_off_anywhere_the_same_command_finishes(root: Path, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    gone = theirs(root, CAMERA)
    kept = {path: content for path, content in contents(root, "vi").items() if content not in gone}
    assert not dies_after(make_plan(root, CAMERA), steps, monkeypatch)
    assert set(kept) <= set(contents(root, "vi")), "the manifest names what is there, whenever it was cut off"
    erase(make_plan(root, CAMERA))
    assert files_with(root.parent, gone) == []
    assert contents(root, "vi") == kept
    with pytest.raises(InputError, match="no image of vi-camera-c1"):
        make_plan(root, CAMERA)


def test_a_failing_dvc_stops_before_an_old_object_goes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(root, CAMERA)
    stored = [item.name for item in plan.in_stores()]
    monkeypatch.setattr(carried_out.sys, "executable", "/bin/false")
    with pytest.raises(Exception, match=r"failed: .*Then type the same command again"):
        erase(plan)
    assert [item.name for item in plan.in_stores()] == stored


def test_an_import_under_way_stops_it_before_anything_changes(root: Path) -> None:
    plan = make_plan(root, CAMERA)
    before = read_manifest(root / "data" / "vi")
    with locked(root / "data" / "vi" / HIDDEN), pytest.raises(InputError, match="another `itkm` command works here"):
        erase(plan)
    assert read_manifest(root / "data" / "vi").equals(before)
    assert not plan.file.exists()
    assert erase(plan) > 0


@pytest.mark.parametrize("scenario", ["vi", "cc"])
def test_what_came_in_after_the_plan_was_made_goes_too(root: Path, scenario: str) -> None:
    plan = make_plan(root, PERSON)
    late, (seen, *_) = make_crop(500, 500), theirs(root, PERSON)
    row = next(row for row, _ in images_of(scenario) if row["person"] == 2)
    content = late if scenario == "vi" else seen
    write_scenario([*images_of(scenario), ({**row, "source": "c1/late.jpg"}, content)], root / "data" / scenario)
    erase(plan)
    assert files_with(root.parent, [content]) == []
    assert not (root / "artifacts" / "features" / f"{scenario}.npz").exists()


def test_a_file_loses_the_images_alone_whatever_its_name(root: Path) -> None:
    data = root / "data" / "vi"
    held = {"old.tar.bak": data / "shards" / "c2.tar", "table.pq": data / "manifest.parquet"}
    for name, source in {**held, "vectors.old": root / "gallery.npz"}.items():
        shutil.copy(source, root / name)
    kept = set(read_manifest(data)["path"][~PERSON.rows(read_manifest(data))])
    erase(make_plan(root, PERSON))
    with tarfile.open(root / "old.tar.bak") as tar:
        assert set(tar.getnames()) == {path for path in kept if path.startswith("c2/")}
    assert set(pd.read_parquet(root / "table.pq")["path"]) == kept
    with np.load(root / "vectors.old") as vectors:
        assert len(vectors["path"]) == len(kept)


def test_a_clone_is_listed_once(root: Path) -> None:
    listed = [item for item in make_plan(root, CAMERA).in_project() if item.name.startswith(".itkm/runs")]
    assert [(item.kind, item.name) for item in listed] == [("clone", ".itkm/runs/night")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give either --camera or --person"),
        (["--camera", "c1", "--person", "1"], "give either --camera or --person"),
        (["--person", "-1"], "--person -1: no person's number"),
        (["--camera", "c9"], "no image of vi-camera-c9"),
    ],
)
@pytest.mark.usefixtures("root")
def test_bad_input(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["purge", "--scenario", "vi", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_remote_out_of_reach_stops_it_before_anything_changes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (root / ".dvc" / "config").open("a") as config:
        config.write("['remote \"far\"']\n    url = http://127.0.0.1:9/storage\n")
    gone = theirs(root, CAMERA)
    before = files_with(root.parent, gone)
    assert main(["purge", "--scenario", "vi", "--camera", "c1", "--yes"]) == 2
    assert "remote 'far': cannot be reached" in capsys.readouterr().err
    assert files_with(root.parent, gone) == before


def test_without_dvc_and_git_the_folder_alone_is_purged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", os.fspath(tmp_path.parent))
    write_scenario(scenario_rows("vi"), tmp_path / "data" / "vi")
    gone = theirs(tmp_path, PERSON)
    assert main(["purge", "--scenario", "vi", "--person", "2", "--yes"]) == 0
    assert files_with(tmp_path, gone) == []
    assert len(contents(tmp_path, "vi")) == 36
    assert "git commit" not in capsys.readouterr().out
