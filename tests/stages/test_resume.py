"""What must not change the result: the folder, the hidden labels, and a process that is killed and started again."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from itkm.data.manifest import read_manifest, write_manifest
from itkm.stages import heterogeneous, homogeneous, prompts
from itkm.stages.layout import Layout
from itkm.training.checkpoint import Checkpoint
from toy import SCENARIOS, make_project, make_settings, prepare, run_training

TRAINED = ("homogeneous", "features", "clusters", "prompts", "model", "heterogeneous")


def contents(layout: Layout, *folders: str) -> dict[str, bytes]:
    """Every byte below some folders of `artifacts`, by file."""
    root = layout.root / "artifacts"
    files = [path for folder in folders for path in sorted((root / folder).rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def portable(found: dict[str, bytes], layout: Layout) -> dict[str, bytes]:
    """The same without the project's own path, which a model's card holds as the place of its weights."""
    return {name: content.replace(str(layout.root).encode(), b"") for name, content in found.items()}


def test_another_folder_and_permuted_identities_give_the_same_bytes(trained: Layout, tmp_path: Path) -> None:
    """Determinism to the last digit, and no label leaks: identities and clothes are shuffled in every file."""
    layout = make_project(tmp_path)
    for number, scenario in enumerate(SCENARIOS):
        manifest = read_manifest(layout.data(scenario))
        rng = np.random.default_rng(number)
        for column in ("person", "clothes"):
            manifest[column] = rng.permutation(manifest[column].to_numpy()) + 7
        write_manifest(manifest, layout.data(scenario))
        prepare(layout, scenario)
        assert layout.evaluation_table(scenario).read_bytes() != trained.evaluation_table(scenario).read_bytes()
    run_training(layout)
    found, expected = (portable(contents(own, *TRAINED), own) for own in (layout, trained))
    assert len(expected) == 18
    assert {name for name in expected if found.get(name) != expected[name]} == set()
    assert set(found) == set(expected)


@pytest.mark.parametrize(
    ("stage", "outputs"),
    [
        ("homogeneous", ("homogeneous",)),
        ("prompts", ("prompts",)),
        ("heterogeneous", ("heterogeneous", "model")),
    ],
)
def test_killed_and_started_again_it_ends_with_the_same_bytes(
    project: Layout, caplog: pytest.LogCaptureFixture, stage: str, outputs: tuple[str, ...]
) -> None:
    settings = make_settings(project.root)
    run: Callable[..., None] = {"homogeneous": homogeneous, "prompts": prompts, "heterogeneous": heterogeneous}[
        stage
    ].run
    expected = contents(project, *outputs)
    for folder in outputs:
        shutil.rmtree(project.root / "artifacts" / folder)
    assert kill_in_second_epoch(run, settings, project) == -signal.SIGKILL
    assert contents(project, *outputs) == {}
    (state,) = Path(".itkm/checkpoints").glob(f"{stage}-*/*")
    assert state.name == "state.pt"
    with caplog.at_level(logging.INFO):
        run(settings, project)
    assert "going on after epoch 1" in caplog.text
    assert f"{stage} 2/2" in caplog.text
    assert f"{stage} 1/2" not in caplog.text
    found = contents(project, *outputs)
    different = {name for name in expected if found.get(name) != expected[name]}
    assert different - {"homogeneous/config.json"} == set()  # it holds this copy's path of the weights
    assert list(Path(".itkm/checkpoints").iterdir()) == []


def kill_in_second_epoch(run: Callable[..., None], settings: Any, layout: Layout) -> int | None:
    """Runs a stage in another process that is killed after its second epoch, while the state is not written yet."""
    process = multiprocessing.get_context("fork").Process(target=run_until_killed, args=(run, settings, layout))
    process.start()
    process.join(120)
    return process.exitcode


def run_until_killed(run: Callable[..., None], settings: Any, layout: Layout) -> None:
    save = Checkpoint.save

    def save_or_die(self: Checkpoint, state: dict[str, Any]) -> None:
        if state["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        save(self, state)

    with contextlib.chdir(layout.root):
        Checkpoint.save = save_or_die  # type: ignore[method-assign]
        run(settings, layout)


def test_state_of_other_settings_is_not_used(project: Layout, caplog: pytest.LogCaptureFixture) -> None:
    assert kill_in_second_epoch(prompts.run, make_settings(project.root), project) == -signal.SIGKILL
    with caplog.at_level(logging.INFO):
        prompts.run(make_settings(project.root, prompts={"tokens": 3}), project)
    assert "going on" not in caplog.text
