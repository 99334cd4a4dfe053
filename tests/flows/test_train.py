"""The flow `train` against what DVC itself says and does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from toyflow import EDGES, STAGES, Toy

from flows.graph import read_graph
from flows.train import CACHED, StageError, train
from itkm.errors import InputError

ROOT = Path(__file__).parents[2]


def edges(root: Path) -> set[tuple[str, str]]:
    return {(stage, below) for stage, upstream in read_graph(root).upstream.items() for below in upstream}


def drawn(toy: Toy, root: Path) -> set[tuple[str, str]]:
    """The edges that `dvc dag --dot` draws between stages: a stage and one that it depends on."""
    stages = set(toy.dvc("stage", "list", "--name-only", folder=root).splitlines())
    found = re.findall(r'"([^"]+)" -> "([^"]+)"', toy.dvc("dag", "--dot", folder=root))
    return {(after, before) for before, after in found if {after, before} <= stages}


def test_the_graph_is_that_of_dvc(toy: Toy) -> None:
    assert set(read_graph(toy.folder).upstream) == set(toy.dvc("stage", "list", "--name-only").splitlines()) == STAGES
    assert edges(toy.folder) == drawn(toy, toy.folder) == EDGES


def test_the_projects_own_graph_is_that_of_dvc(toy: Toy) -> None:
    graph = read_graph(ROOT)
    assert set(graph.upstream) == set(toy.dvc("stage", "list", "--name-only", folder=ROOT).splitlines())
    assert edges(ROOT) == drawn(toy, ROOT)
    done: set[str] = set()
    for stage, upstream in graph.upstream.items():
        assert upstream <= done
        done.add(stage)


def test_a_folder_without_a_project_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(str(tmp_path))):
        read_graph(tmp_path)


@pytest.mark.usefixtures("prefect_server")
def test_stages_run_once_and_are_cached_after_that(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toy.folder)
    assert train() == dict.fromkeys(STAGES, "Completed")
    assert sorted(toy.ran()) == ["clean", "clean", "join", "score"]
    assert "up to date" in toy.dvc("status")
    assert train() == dict.fromkeys(STAGES, CACHED)
    assert toy.ran() == []
    toy.change("other")
    states = train()
    assert [stage for stage, state in states.items() if state == CACHED] == ["clean@b"]
    assert sorted(toy.ran()) == ["clean", "join", "score"]


@pytest.mark.usefixtures("prefect_server")
def test_a_fresh_clone_with_the_cache_runs_nothing(toy: Toy, tmp_path: Path) -> None:
    train(toy.folder)
    toy.git("add", "--all")
    toy.git("commit", "--quiet", "--message", "trained")
    toy.ran()
    clone = tmp_path / "clone"
    toy.git("clone", "--quiet", str(toy.folder), str(clone))
    toy.dvc("cache", "dir", "--local", str(toy.folder / ".dvc" / "cache"), folder=clone)
    assert train(clone) == dict.fromkeys(STAGES, CACHED)
    assert toy.ran() == []
    assert (clone / "out" / "all").read_text() == (toy.folder / "out" / "all").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_a_failed_stage_fails_the_flow_and_nothing_behind_it_runs(toy: Toy) -> None:
    (toy.outside / "fail-join").write_text("2")
    with pytest.raises(StageError, match="join, score"):
        train(toy.folder)
    assert sorted(toy.ran()) == ["clean", "clean", "join"]
    train(toy.folder)
    assert sorted(toy.ran()) == ["join", "score"]
