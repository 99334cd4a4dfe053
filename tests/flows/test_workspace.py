"""Private clones of a project: found again, cut off, removed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prefect.logging import disable_run_logger
from toyflow import Toy

from flows import process
from flows.locks import alone
from flows.workspace import commit, published, push, remove_stale, workspace
from itkm.errors import InputError


@pytest.fixture(autouse=True)
def _unlogged() -> Iterator[None]:
    with disable_run_logger():
        yield


def test_a_clone_is_found_again_and_shares_cache_and_remote(toy: Toy) -> None:
    with workspace(toy.folder, "one", free=0, days=1) as folder:
        (folder / "kept").touch()
        assert toy.dvc("cache", "dir", folder=folder) == str(toy.folder / ".dvc" / "cache")
        assert toy.dvc("remote", "list", folder=folder).split() == toy.dvc("remote", "list").split()
    with workspace(toy.folder, "one", free=0, days=1) as folder:
        assert (folder / "kept").exists()


def test_who_comes_second_waits_until_the_first_has_ended(toy: Toy) -> None:
    order = []

    def second() -> None:
        with workspace(toy.folder, "one", free=0, days=1):
            order.append("second")

    with ThreadPoolExecutor() as pool:
        with workspace(toy.folder, "one", free=0, days=1):
            waiting = pool.submit(second)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=1)
            order.append("first")
        waiting.result(timeout=60)
    assert order == ["first", "second"]


def test_a_clone_that_was_cut_off_is_made_again(toy: Toy) -> None:
    with workspace(toy.folder, "one", free=0, days=1) as folder:
        (folder / ".complete").unlink()
        (folder / "dvc.yaml").unlink()
    with workspace(toy.folder, "one", free=0, days=1) as folder:
        assert (folder / "dvc.yaml").exists()


def test_the_order_in_which_stages_ended_makes_no_other_result(toy: Toy) -> None:
    with workspace(toy.folder, "one", free=0, days=1) as folder:
        commit_lock(folder, "ab")
        branch = push(folder, toy.folder)
    with workspace(toy.folder, "two", free=0, days=1) as folder:
        commit_lock(folder, "ba")
        assert published(folder, toy.folder) == branch == "retrain/one"


def commit_lock(folder: Path, parts: str) -> None:
    stages = "".join(f"  clean@{part}:\n    cmd: python step.py\n" for part in parts)
    (folder / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n{stages}")
    commit(folder, parts)


def test_a_full_disk_is_told_before_anything_begins(toy: Toy) -> None:
    with pytest.raises(InputError, match="MB needed"), workspace(toy.folder, "one", free=10**18, days=1):
        pass
    assert not (toy.folder / ".itkm").exists()


def test_only_old_clones_that_nobody_uses_are_removed(tmp_path: Path) -> None:
    for name, age in (("old", 3), ("used", 3), ("young", 1)):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.lock").touch()
        when = time.time() - age * 86400
        os.utime(tmp_path / f"{name}.lock", (when, when))
    when = (tmp_path / "used.lock").stat().st_mtime
    with alone(tmp_path / "used.lock"):
        os.utime(tmp_path / "used.lock", (when, when))
        assert remove_stale(tmp_path, days=2) == [tmp_path / "old"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["used", "used.lock", "young", "young.lock"]


def test_a_project_without_a_commit_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Commit the project first"), workspace(tmp_path, "one", free=0, days=1):
        pass


def test_a_relative_origin_counts_from_the_project(toy: Toy) -> None:
    toy.git("clone", "--quiet", "--bare", str(toy.folder), "../upstream.git")
    toy.git("remote", "add", "origin", "../upstream.git")
    with workspace(toy.folder, "one", free=0, days=1) as folder:
        branch = push(folder, toy.folder)
    assert "retrain/one" == branch == toy.git("ls-remote", "--heads", "origin").rpartition("refs/heads/")[2]


def test_a_commit_asks_for_no_identity_and_no_passphrase(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["[commit]", "gpgsign = true", "[gpg]", "program = false", "[user]", "useConfigOnly = true"]
    (toy.folder.parent / "gitconfig").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(toy.folder.parent / "gitconfig"))
    with workspace(toy.folder, "one", free=0, days=1) as folder:
        (folder / "dvc.lock").write_text("stages: {}\n", encoding="utf-8")
        commit(folder, "something new")
        by_command = ["git", "commit", "--allow-empty", "--message", "by a command"]  # as `feed accept` does
        process.run(by_command, cwd=folder)
        said = toy.say("git", "log", "-2", "--format=%an: %s", folder=folder)
        assert said == "ITKM flows: by a command\nITKM flows: something new"


def test_no_message_repeats_a_password(toy: Toy) -> None:
    toy.git("remote", "add", "origin", "http://somebody:secret@127.0.0.1:9/up.git")
    with workspace(toy.folder, "one", free=0, days=1) as folder, pytest.raises(process.CommandError) as caught:
        push(folder, toy.folder)
    assert "git push" in str(caught.value)
    assert "secret" not in str(caught.value)
