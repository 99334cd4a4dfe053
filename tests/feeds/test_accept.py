from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import faults
import pandas as pd
import pytest
from deliveries import DECLARED, digests, in_feed, judge, of, take

from itkm.data.check import check_dataset
from itkm.data.manifest import read_manifest
from itkm.data.shards import ShardReader
from itkm.errors import InputError, ItkmError
from itkm.feeds import history
from itkm.feeds.accept import accept, publish, read_profile, require_project
from itkm.feeds.feed import ACCEPTANCE_FILE, IMAGES, PROFILE_FILE

IN_SHARDS = "feeds/vi-c1/2026-03-02.tar"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A few accepted images of all cameras but vi-c1."""
    return faults.accepted(tmp_path / "data", "vi", without="vi-c1", limit=4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A feed of 20 files, three of which do not decode, that was found good."""
    return make_feed(tmp_path / "feed")


def make_feed(folder: Path, *, images: slice = slice(20), camera: str = "vi-c1", status: str = "accepted") -> Path:
    """Claims, sorts and judges a part of what camera vi-c1 saw; three files are empty."""
    drop = faults.clean_drop("vi", "vi-c1", images=80, declared=camera)
    files = dict(list(drop.files.items())[images])
    drop = faults.plant(replace(drop, files=files), "zero bytes", 0.15)
    take(drop.write(folder.with_name(f"{folder.name}-drop")), folder, declared=replace(DECLARED, camera=camera))
    judge(folder, status)  # type: ignore[arg-type]
    return folder


def packed(data: Path) -> pd.DataFrame:
    """The rows of the manifest that came from feeds, with the SHA-256 of what their shards hold."""
    manifest, reader = read_manifest(data), ShardReader(data)
    rows = manifest[manifest["shard"].str.startswith("feeds/")]
    contents = [reader.read(shard, path) for shard, path in zip(rows["shard"], rows["path"], strict=True)]
    return rows.assign(sha256=[hashlib.sha256(content).hexdigest() for content in contents])


def test_images_become_training_data_and_leave_the_feed_folder(folder: Path, data: Path) -> None:
    before, profile = read_manifest(data), read_profile(folder)
    images = digests(folder / IMAGES)
    record = accept(folder, data)
    after, rows = read_manifest(data), packed(data)
    pd.testing.assert_frame_equal(after.iloc[: len(before)], before)
    assert record["shards"] == [IN_SHARDS] == sorted(set(rows["shard"]))
    assert (set(rows["split"]), set(rows["person"]), set(rows["camera"])) == ({"train"}, {-1}, {"vi-c1"})
    assert (set(rows["scenario"]), set(rows["group"]), set(rows["resolution"])) == ({"vi"}, {"visible"}, {"64x128"})
    assert dict.fromkeys(rows["sha256"], 1) == dict(images) and rows["sha256"].is_monotonic_increasing
    times = profile[profile["decode_ok"]].set_index("path")["timestamp"]
    assert all(pd.Timestamp(row.timestamp) == times[row.source] for row in rows.itertuples())
    assert not digests(folder / IMAGES) and in_feed(folder).total() == 3  # what was empty stays in quarantine
    noted = read_profile(folder)
    assert (noted["shard"] == IN_SHARDS).equals(noted["decode_ok"])
    assert {finding.rule for finding in check_dataset(data) if finding.severity == "error"} <= {"enough-images"}


def test_a_person_is_told_neither_by_paths_nor_by_their_order(folder: Path, data: Path) -> None:
    accept(folder, data)
    rows = packed(data)
    assert rows["path"].str.fullmatch(r"vi-c1/2026-03-02/[0-9a-f]{16}\.jpg").all()
    assert not rows["source"].is_monotonic_increasing


def test_the_same_content_adds_nothing_however_often(tmp_path: Path, folder: Path, data: Path) -> None:
    first = accept(folder, data)
    state = digests(data)
    assert accept(folder, data) == first
    assert accept(make_feed(tmp_path / "again"), data) == first
    assert digests(data) == state
    assert not digests(tmp_path / "again" / IMAGES)  # its bytes are in the shard


def test_a_further_feed_of_the_day_gets_a_shard_of_its_own(tmp_path: Path, folder: Path, data: Path) -> None:
    accept(folder, data)
    first = (data / IN_SHARDS).read_bytes()
    record = accept(make_feed(tmp_path / "evening", images=slice(40, 60)), data)
    assert record["shards"] == ["feeds/vi-c1/2026-03-02-1.tar"] and (data / IN_SHARDS).read_bytes() == first
    assert packed(data)["path"].is_unique and set(packed(data)["shard"]) == {IN_SHARDS, *record["shards"]}


def test_a_shard_for_each_day_that_of_the_claim_where_unknown(tmp_path: Path, data: Path) -> None:
    drop = faults.clean_drop("vi", "vi-c1", images=6)
    names = [
        *list(drop.files)[:2],
        *(name.replace("0302T", "0303T") for name in list(drop.files)[2:4]),
        "x.jpg",
        "y.jpg",
    ]
    feed, _ = take(
        replace(drop, files=dict(zip(names, drop.files.values(), strict=True))).write(tmp_path / "drop"),
        tmp_path / "feed",
    )
    judge(tmp_path / "feed")
    record = accept(tmp_path / "feed", data)
    today = feed.claimed_at[:10]
    assert record["shards"] == sorted([IN_SHARDS, "feeds/vi-c1/2026-03-03.tar", f"feeds/vi-c1/{today}.tar"])
    rows = packed(data).set_index("source")
    assert rows.loc["x.jpg", ["shard", "timestamp"]].tolist() == [f"feeds/vi-c1/{today}.tar", ""]
    assert rows.loc[names[2], "shard"] == "feeds/vi-c1/2026-03-03.tar"


def test_what_was_refused_needs_a_reason_which_is_recorded(tmp_path: Path, data: Path) -> None:
    folder = make_feed(tmp_path / "bad", status="refused")
    state = digests(data), in_feed(folder)
    with pytest.raises(InputError, match=r"was refused: As the test wants it\..*--override"):
        accept(folder, data)
    assert (digests(data), in_feed(folder)) == state
    record = accept(folder, data, override="the lens was cleaned")
    assert record["override"] == "the lens was cleaned" and len(packed(data)) == 17
    assert history.read(data / history.ACCEPTED) == [record]
    assert "the lens was cleaned" in (folder / ACCEPTANCE_FILE).read_text()
    accept(folder, data)  # again, and no longer asked


def test_without_a_verdict_on_just_this_content_nothing_is_accepted(tmp_path: Path, folder: Path, data: Path) -> None:
    with pytest.raises(InputError, match="not a feed"):
        accept(tmp_path, data)
    other = make_feed(tmp_path / "other", images=slice(40, 60))
    (folder / "validation.json").write_bytes((other / "validation.json").read_bytes())
    with pytest.raises(InputError, match="of another feed"):
        accept(folder, data)
    (folder / "validation.json").unlink()
    with pytest.raises(InputError, match="Run `itkm feed validate`"):
        accept(folder, data)


def test_an_image_that_was_changed_after_the_verdict_is_not_accepted(folder: Path, data: Path) -> None:
    file = next(iter(sorted((folder / IMAGES).iterdir())))
    file.write_bytes(faults.encode(faults.pixels(file.read_bytes())))
    manifest = read_manifest(data)
    with pytest.raises(InputError, match="changed since it was validated"):
        accept(folder, data)
    pd.testing.assert_frame_equal(read_manifest(data), manifest)
    assert len(digests(folder / IMAGES)) == 17


def without_an_image(folder: Path) -> None:
    next(iter(sorted((folder / IMAGES).iterdir()))).unlink()


def with_cell(column: str, value: object) -> Callable[[Path], None]:
    """Sets a column of the profile, as a feed that was validated long ago may have it."""
    return lambda folder: read_profile(folder).assign(**{column: value}).to_parquet(folder / PROFILE_FILE)


UNPACKABLE: list[tuple[Callable[[Path], None], str]] = [
    (without_an_image, "is gone since it was validated. Validate it again"),
    (with_cell("camera", "gate 3"), "camera is 'gate 3'"),
    (with_cell("camera", "../x"), "camera is '../x'"),
    (with_cell("timestamp", pd.Timestamp("0001-01-01", tz="UTC")), "timestamp is '1-01-01"),
]


@pytest.mark.parametrize(("harm", "said"), UNPACKABLE, ids=["gone", "camera", "path", "year"])
def test_what_cannot_be_packed_is_never_recorded_as_accepted(
    folder: Path, data: Path, harm: Callable[[Path], None], said: str
) -> None:
    harm(folder)
    state = digests(data), in_feed(folder)
    with pytest.raises(InputError, match=said):
        accept(folder, data, override="wanted all the same")
    assert (digests(data), in_feed(folder)) == state and history.read(data / history.ACCEPTED) == []


def test_a_first_feed_makes_the_manifest(tmp_path: Path, folder: Path) -> None:
    accept(folder, tmp_path / "data" / "vi")
    assert len(read_manifest(tmp_path / "data" / "vi")) == 17


def test_other_formats_are_packed_byte_for_byte(tmp_path: Path, data: Path) -> None:
    from PIL import Image

    (tmp_path / "drop").mkdir()
    Image.effect_noise((20, 40), 90).save(tmp_path / "drop" / "a.bmp")
    content = digests(tmp_path / "drop")
    take(tmp_path / "drop", tmp_path / "feed")
    judge(tmp_path / "feed")
    accept(tmp_path / "feed", data)
    assert set(packed(data)["sha256"]) == set(content)


def test_cut_off_at_any_step_it_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_data = faults.accepted(tmp_path / "whole", "vi", without="vi-c1", limit=4)
    whole = make_feed(tmp_path / "whole-feed")
    contents = in_feed(whole)
    monkeypatch.setattr("itkm.feeds.accept.datetime", _Clock)
    accept(whole, whole_data)
    for stop in (*range(7), 12, 20, 99):  # history, shard, manifest, profile, note; then the images leave
        data = faults.accepted(tmp_path / f"data-{stop}", "vi", without="vi-c1", limit=4)
        folder = make_feed(tmp_path / f"feed-{stop}")
        steps = iter(range(stop))

        def counted(self: Path, *arguments: Path, steps: Iterator[int] = steps, **options: bool) -> None:
            if not self.exists():
                return  # nothing to remove
            if next(steps, None) is None:
                raise KeyboardInterrupt
            (os.replace if arguments else os.unlink)(self, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", counted)
            patch.setattr("itkm.feeds.accept.Path.unlink", counted)
            try:
                accept(folder, data)
            except KeyboardInterrupt:
                interrupted = True
            else:
                interrupted = False
        named = set(packed(data)["sha256"])
        assert named | set(in_feed(folder)) == set(contents)  # nothing is lost
        assert not named or named | {hashlib.sha256(b"").hexdigest()} == set(contents)  # all or none
        accept(folder, data)
        assert packed(data).equals(packed(whole_data)) and in_feed(folder) == in_feed(whole)
        assert len(history.read(data / history.ACCEPTED)) == 1
        assert {file.name for file in data.rglob("*")} == {file.name for file in whole_data.rglob("*")}
        assert interrupted == (stop < 99)


class _Clock:
    """It is always the same time."""

    @staticmethod
    def now(zone: object) -> pd.Timestamp:
        return pd.Timestamp("2026-03-03T00:00Z")


def test_two_feeds_at_once_wait_or_are_told(folder: Path, data: Path) -> None:
    from itkm.files import locked

    script = "import sys; from pathlib import Path; from itkm.files import locked\n"
    script += "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(data / ".itkm")]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as other:
        assert other.stdout is not None and other.stdin is not None
        other.stdout.readline()
        with pytest.raises(InputError, match="another `itkm` command"):
            accept(folder, data)
        other.stdin.close()
    with locked(data / ".itkm"):
        pass
    assert accept(folder, data)["images"] == 17


def run(*command: str, cwd: Path) -> str:
    start = [sys.executable, "-m", "dvc"] if command[0] == "dvc" else [command[0]]
    environment = {**os.environ, "DVC_SITE_CACHE_DIR": str(cwd / ".dvc" / "tmp" / "site")}
    done = subprocess.run([*start, *command[1:]], cwd=cwd, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with data in DVC, pushed to a remote, and a branch with an upstream."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "A Tester")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "tester@localhost")
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(root / ".dvc" / "tmp" / "site"))
    faults.accepted(root / "data", "vi", without="vi-c1", limit=4)
    (root / ".dvcignore").write_text(".itkm/\n")
    run("git", "init", "-q", "--bare", str(tmp_path / "upstream.git"), cwd=root)
    run("git", "init", "-q", "-b", "main", ".", cwd=root)
    run("dvc", "init", "-q", cwd=root)
    run("dvc", "remote", "add", "-q", "-d", "storage", str(tmp_path / "remote"), cwd=root)
    run("dvc", "add", "-q", "data", cwd=root)
    (root / "notes.txt").write_text("first\n")
    run("git", "add", ".", cwd=root)
    run("git", "commit", "-q", "-m", "start", cwd=root)
    run("dvc", "push", "-q", cwd=root)
    run("git", "remote", "add", "origin", str(tmp_path / "upstream.git"), cwd=root)
    run("git", "push", "-q", "-u", "origin", "main", cwd=root)
    return root


@pytest.mark.slow
def test_dvc_and_git_get_the_feed_and_nothing_else(tmp_path: Path, project: Path, folder: Path) -> None:
    data = project / "data" / "vi"
    (project / "notes.txt").write_text("second, not to be committed\n")
    (project / "staged.txt").write_text("staged, not to be committed\n")
    run("git", "add", "staged.txt", cwd=project)
    (data / "shards" / "vi-c2.tar").unlink()  # the rest of the data need not be here
    record = accept(folder, data)
    done = publish(data, record, root=project)
    assert done == ["dvc add", "commit of data.dvc", "dvc push", "git push"]
    assert run("git", "show", "--name-only", "--format=", "HEAD", cwd=project) == "data.dvc"
    assert run("git", "status", "--porcelain", cwd=project).splitlines() == ["M notes.txt", "A  staged.txt"]
    assert run("git", "rev-parse", "@{upstream}", cwd=project) == run("git", "rev-parse", "HEAD", cwd=project)
    run("git", "clone", "-q", "-b", "main", str(tmp_path / "upstream.git"), str(tmp_path / "other"), cwd=project)
    run("dvc", "pull", "-q", cwd=tmp_path / "other")
    other = tmp_path / "other" / "data" / "vi"
    pd.testing.assert_frame_equal(read_manifest(other), read_manifest(data))
    assert len(packed(other)) == 17 and (other / "shards" / "vi-c2.tar").exists()
    assert history.read(other / history.ACCEPTED) == [record]
    assert publish(data, record, root=project) == ["dvc add", "dvc push", "git push"]  # again: nothing to commit


@pytest.mark.slow
def test_what_cannot_be_pushed_by_dvc_is_not_pushed_by_git(tmp_path: Path, project: Path, folder: Path) -> None:
    data = project / "data" / "vi"
    run("dvc", "remote", "modify", "--local", "storage", "url", "/proc/nowhere", cwd=project)
    record = accept(folder, data)
    with pytest.raises(ItkmError, match="`dvc push` failed"):
        publish(data, record, root=project)
    assert run("git", "rev-parse", "@{upstream}", cwd=project) != run("git", "rev-parse", "HEAD", cwd=project)
    run("dvc", "remote", "modify", "--local", "storage", "url", str(tmp_path / "remote"), cwd=project)
    assert publish(data, record, root=project) == ["dvc add", "dvc push", "git push"]
    run("git", "branch", "--unset-upstream", cwd=project)
    assert publish(data, record, root=project) == ["dvc add", "dvc push"]


def test_outside_of_a_project_nothing_begins(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no DVC and Git project"):
        require_project(tmp_path)


def test_an_accepted_image_is_known_by_its_content(folder: Path, data: Path) -> None:
    wanted = of({path.name: path.read_bytes() for path in (folder / IMAGES).iterdir()})
    accept(folder, data)
    assert set(packed(data)["sha256"]) == set(wanted)
