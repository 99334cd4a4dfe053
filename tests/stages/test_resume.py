"""What must not change the result: the folder, the hidden labels, and a process that is killed and started again."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from forked import forked
from itkm.config import Settings
from itkm.data.manifest import read_manifest, write_manifest
from itkm.errors import InputError
from itkm.stages import heterogeneous, homogeneous, prompts
from itkm.stages.layout import Layout
from itkm.training import checkpoint
from itkm.training.checkpoint import Checkpoint
from toy import SCENARIOS, extract_and_cluster, make_project, make_settings, prepare, run_training

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
    assert len(expected) == 21
    assert {name for name in expected if found.get(name) != expected[name]} == set()
    assert set(found) == set(expected)


STAGES = [
    ("homogeneous", ("homogeneous",)),
    ("prompts", ("prompts",)),
    ("heterogeneous", ("heterogeneous", "model")),
]
RUNS: dict[str, Callable[..., None]] = {
    "homogeneous": homogeneous.run,
    "prompts": prompts.run,
    "heterogeneous": heterogeneous.run,
}
SMALL = {"identities": 2, "instances": 2}  # eight steps an epoch


def many_steps(layout: Layout) -> Settings:
    return make_settings(layout.root, homogeneous=SMALL, heterogeneous=SMALL, prompts={"batch": 8})


def run_killed(run: Callable[..., None], settings: Settings, layout: Layout, *, log: Path, after: int) -> int | None:
    """Runs a stage in another process that saves after every step, and is killed after some steps; its exit code."""
    process = forked(run_logged, run, settings, layout, log, after)
    process.start()
    process.join(300)
    return process.exitcode


def run_logged(run: Callable[..., None], settings: Settings, layout: Layout, log: Path, after: int) -> None:
    due, calls = Checkpoint.due, itertools.count(1)

    def due_or_die(self: Checkpoint) -> bool:
        if next(calls) == after:
            os.kill(os.getpid(), signal.SIGKILL)
        return due(self)

    checkpoint.PAUSE, checkpoint.SHARE = 0.0, math.inf
    Checkpoint.due = due_or_die  # type: ignore[method-assign]
    logging.getLogger("itkm").addHandler(logging.FileHandler(log))
    logging.getLogger("itkm").setLevel(logging.DEBUG)
    with contextlib.chdir(layout.root):
        run(settings, layout)


def step_losses(log: Path) -> list[tuple[str, str]]:
    """What the debug lines say of every step, in the order in which they were taken: (step, loss to the last digit)."""
    found = [re.match(r"(epoch \d+, step \d+ of \d+): (.*)", line) for line in log.read_text().splitlines()]
    return [(match[1], match[2]) for match in found if match]


@pytest.mark.parametrize(("stage", "outputs"), STAGES)
def test_killed_between_two_steps_it_goes_on_with_the_next(
    project: Layout, tmp_path: Path, caplog: pytest.LogCaptureFixture, stage: str, outputs: tuple[str, ...]
) -> None:
    settings = make_settings(project.root)
    expected = contents(project, *outputs)
    for folder in outputs:
        shutil.rmtree(project.root / "artifacts" / folder)
    assert run_killed(RUNS[stage], settings, project, log=tmp_path / "log", after=4) == -signal.SIGKILL
    assert contents(project, *outputs) == {}
    (folder,) = Path(".itkm/checkpoints").iterdir()
    assert {path.name for path in folder.iterdir()} == {"state.pt", "made-from.json"}
    with caplog.at_level(logging.INFO):
        RUNS[stage](settings, project)
    assert re.search(r"going on after epoch \d, step [1-9]", caplog.text)
    found = contents(project, *outputs)
    different = {name for name in expected if found.get(name) != expected[name]}
    assert different - {"homogeneous/config.json"} == set()  # it holds this copy's path of the weights
    assert list(Path(".itkm/checkpoints").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "outputs"), STAGES)
def test_killed_at_random_steps_every_loss_is_that_of_the_uninterrupted_run(
    project: Layout, tmp_path: Path, stage: str, outputs: tuple[str, ...]
) -> None:
    settings, rng = many_steps(project), np.random.default_rng(len(stage))
    for step in ("homogeneous", "between", "prompts", "heterogeneous"):
        if step == stage:
            break
        if step == "between":
            extract_and_cluster(settings, project)
        else:
            RUNS[step](settings, project)
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    assert run_killed(RUNS[stage], settings, project, log=whole, after=0) == 0
    expected = contents(project, *outputs)
    for folder in outputs:
        shutil.rmtree(project.root / "artifacts" / folder)
    kills = 0
    while code := run_killed(RUNS[stage], settings, project, log=pieces, after=int(rng.integers(2, 5))):
        assert code == -signal.SIGKILL
        kills += 1
    assert kills >= 4
    losses, found = step_losses(whole), step_losses(pieces)
    assert len(losses) >= 16
    assert set(found) == set(losses)
    assert len(found) == len(losses) + kills  # each time one step is repeated, whose state was not saved yet
    assert contents(project, *outputs) == expected


@pytest.mark.parametrize(("stage", "outputs"), STAGES)
def test_a_diverged_training_leaves_neither_a_model_nor_a_state(
    project: Layout, monkeypatch: pytest.MonkeyPatch, stage: str, outputs: tuple[str, ...]
) -> None:
    monkeypatch.setattr(checkpoint, "PAUSE", 0.0)
    monkeypatch.setattr(checkpoint, "SHARE", math.inf)
    settings = make_settings(project.root, **{stage: {"epochs": 1, "learning_rate": 1e37, "warmup": 0.0}})
    for folder in outputs:
        shutil.rmtree(project.root / "artifacts" / folder)
    with pytest.raises(InputError, match=rf"^{stage}, epoch 1: the loss is not finite"):
        RUNS[stage](settings, project)
    assert contents(project, *outputs) == {}
    assert list(Path(".itkm/checkpoints").iterdir()) == []


def test_state_of_other_settings_or_data_is_not_used_and_the_difference_named(
    project: Layout, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    killed = run_killed(prompts.run, make_settings(project.root), project, log=tmp_path / "log", after=3)
    assert killed == -signal.SIGKILL
    with project.features("cc").open("ab") as stream:
        stream.write(b" ")
    with caplog.at_level(logging.INFO):
        prompts.run(make_settings(project.root, prompts={"tokens": 3}), project)
    assert "going on" not in caplog.text
    features = project.features("cc")
    assert f"not resumed: prompts.tokens was 4, is 3; {features} differs; starting anew" in caplog.messages


@pytest.mark.parametrize(
    ("stage", "damage", "said"),
    [
        ("homogeneous", lambda own: own["trainer"]["encoder"].update(mean=torch.zeros(2)), "size mismatch for mean"),
        ("homogeneous", lambda own: own["round"].update(labels=own["round"]["labels"][:1]), "argument 2 is shorter"),
        (
            "heterogeneous",
            lambda own: own["round"]["targets"][2].update(labels=torch.zeros(7, dtype=torch.int64)),
            "cc/outfit-a has 32 images; it holds 7 labels",
        ),
        ("prompts", lambda own: own.pop("optimiser"), "it has no 'optimiser'"),
    ],
)
def test_state_that_does_not_fit_is_refused(
    project: Layout, tmp_path: Path, stage: str, damage: Callable[[Any], Any], said: str
) -> None:
    settings = make_settings(project.root)
    assert run_killed(RUNS[stage], settings, project, log=tmp_path / "log", after=2) == -signal.SIGKILL
    (file,) = Path(".itkm/checkpoints").glob("*/state.pt")
    state = torch.load(file, weights_only=True)
    damage(state)
    torch.save(state, file)
    with pytest.raises(InputError, match=rf"{file}: claims to be of these settings, data and code.*{said}.*Delete"):
        RUNS[stage](settings, project)
