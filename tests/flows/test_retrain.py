"""The flow `retrain` on a project of trivial stages; the registry answers as the test says."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from toyflow import Toy

from flows import process
from flows.ingest import ingest_feed
from flows.promote import rollback
from flows.retrain import retrain
from flows.train import CACHED
from itkm.errors import InputError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]
GOOD = {"promoted": True, "version": "1", "champion": "1", "previous": None, "reasons": ["There is no champion yet."]}
BAD = {"promoted": False, "version": "2", "champion": "1", "previous": None, "reasons": ["vi: mAP 0.1 after 0.2."]}


class Registry:
    """Answers in the place of `itkm model`, and keeps what it was asked, and where."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Path]] = []
        self.decided = False
        self.decision: dict[str, Any] = GOOD

    def __call__(self, *arguments: str, cwd: Path, codes: object = (0,)) -> tuple[int, dict[str, Any]]:
        self.asked.append((arguments[0], cwd))
        if arguments[0] == "register":
            assert (cwd / "metrics.json").is_file()
            return 0, {"version": "1", "decided": self.decided}
        return (0 if self.decision["promoted"] else 4), self.decision

    def words(self) -> list[str]:
        """The commands asked for since the last call."""
        words = [word for word, _ in self.asked]
        self.asked.clear()
        return words


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    registry = Registry()
    monkeypatch.setattr(process, "model", registry)
    return registry


def branches(toy: Toy) -> list[str]:
    return toy.git("branch", "--list", "retrain/*", "--format=%(refname:short)").splitlines()


def run(toy: Toy) -> str:
    """The name of the state in which a retraining ends."""
    return str(retrain(toy.folder, free=0, return_state=True).name)


def test_a_result_is_pushed_registered_and_decided_on(toy: Toy, registry: Registry) -> None:
    assert run(toy) == "Promoted"
    assert registry.words() == ["register", "promote"]
    (branch,) = branches(toy)
    assert toy.git("diff", "--name-only", "main", branch).splitlines() == ["dvc.lock", "metrics.json"]
    assert toy.git("status", "--porcelain") == ""
    assert not (toy.folder / "out").exists()
    clone = toy.base / "elsewhere"  # beside the project, as its remote is relative to it
    toy.git("clone", "--quiet", "--branch", branch, str(toy.folder), str(clone))
    toy.dvc("pull", "--quiet", folder=clone)  # from the remote alone: what the branch points to is there
    assert (clone / "out" / "all").read_text() == "A\nB\n"


def test_nothing_new_stops_before_the_registry(toy: Toy, registry: Registry) -> None:
    run(toy)
    toy.git("merge", "--quiet", branches(toy)[0])
    registry.words()
    toy.ran()
    assert run(toy) == CACHED
    assert registry.words() == []
    assert toy.ran() == []
    assert len(branches(toy)) == 1


def test_a_result_that_nobody_merged_is_neither_pushed_nor_decided_on_twice(toy: Toy, registry: Registry) -> None:
    run(toy)
    registry.words()
    registry.decided = True
    assert run(toy) == CACHED
    assert registry.words() == ["register"]
    assert len(branches(toy)) == 1


def test_a_refused_model_ends_in_a_state_of_that_name(toy: Toy, registry: Registry) -> None:
    registry.decision = BAD
    state = retrain(toy.folder, free=0, return_state=True)
    assert state.name == "Refused" and state.is_completed()
    assert "mAP 0.1 after 0.2" in str(state.message)


def test_two_at_once_do_not_disturb_each_other(toy: Toy, registry: Registry) -> None:
    ended: list[str] = []
    threads = [threading.Thread(target=lambda: ended.append(run(toy))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == ["Promoted", "Promoted"]
    folders = {cwd for word, cwd in registry.asked if word == "register"}
    assert len(folders) == 2
    for folder in folders:
        assert (folder / "out" / "all").read_text() == "A\nB\n"
        assert "up to date" in toy.dvc("status", folder=folder)


def test_what_a_feed_changes_meanwhile_is_left_to_the_next_run(toy: Toy, registry: Registry) -> None:
    (toy.outside / "hold-clean").touch()
    thread = threading.Thread(target=run, args=[toy])
    thread.start()
    while not (toy.outside / "pid-clean").exists():
        time.sleep(0.1)
    toy.change("newer")
    (toy.outside / "hold-clean").unlink()
    thread.join()
    (_, first), _ = registry.asked
    assert (first / "out" / "all").read_text() == "A\nB\n"
    registry.words()
    toy.ran()
    run(toy)
    assert (registry.asked[0][1] / "out" / "all").read_text() == "NEWERB\n"
    assert sorted(toy.ran()) == ["clean", "join", "score"]


def test_an_unreachable_remote_fails_before_anything_points_to_it(toy: Toy, registry: Registry, tmp_path: Path) -> None:
    toy.dvc("remote", "modify", "--quiet", "storage", "url", "/dev/null/storage")
    toy.git("commit", "--quiet", "--all", "--message", "no remote")
    with pytest.raises(process.CommandError, match="dvc --wait-for-lock push"):
        retrain(toy.folder, free=0)
    assert branches(toy) == [] and registry.words() == []
    toy.dvc("remote", "modify", "--quiet", "storage", "url", "../storage")
    toy.ran()
    toy.git("commit", "--quiet", "--all", "--message", "repaired")
    assert run(toy) == "Promoted"
    assert toy.ran() == []


def test_uncommitted_changes_are_told_and_left_out(
    toy: Toy, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    (toy.folder / "dvc.yaml").write_text("broken: [")
    assert run(toy) == "Promoted"
    assert "so no part of this run" in caplog.text and "dvc.yaml" in caplog.text
    assert (toy.folder / "dvc.yaml").read_text() == "broken: ["


def test_a_detached_head_is_trained_on_and_refused_for_a_feed(toy: Toy, registry: Registry, tmp_path: Path) -> None:
    toy.git("switch", "--quiet", "--detach")
    assert run(toy) == "Promoted"
    with pytest.raises(InputError, match="detached HEAD"):
        ingest_feed(tmp_path, camera="c", scenario="s", group="g", root=toy.folder)


def test_rollback_returns_the_registrys_answer(toy: Toy, registry: Registry) -> None:
    assert rollback(toy.folder) == GOOD
    assert registry.words() == ["rollback"]
