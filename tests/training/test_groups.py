from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from itkm.data.training import TrainingImages
from itkm.training.extraction import to_pixels
from itkm.training.groups import AUGMENTATIONS, Augmentation, Group, Step, joint_batches, split_groups

CPU = torch.device("cpu")


def make_labels(groups: list[Group], *, clusters: int = 3) -> list[NDArray[np.int64]]:
    return [np.arange(len(group.rows), dtype=np.int64) % (clusters + 1) - 1 for group in groups]


def run(
    groups: list[Group],
    labels: list[NDArray[np.int64]],
    *,
    augmentation: dict[str, Augmentation] | None = None,
    seed: int = 0,
) -> list[Step]:
    steps, batches = joint_batches(
        groups,
        labels,
        identities=2,
        instances=2,
        augmentation=augmentation or {},
        device=CPU,
        seed=(seed,),
    )
    found = list(batches)
    assert len(found) == steps
    return found


def test_groups_are_the_two_halves_of_each_scenario(scenarios: list[TrainingImages], groups: list[Group]) -> None:
    assert [group.name for group in groups] == ["vi/first", "vi/second", "own/first", "own/second"]
    assert [(group.scenario, group.group, group.other) for group in groups] == [
        (0, 0, 1),
        (0, 1, 0),
        (1, 0, 3),
        (1, 1, 2),
    ]
    for group in groups:
        training = scenarios[group.scenario]
        assert (training.group[group.rows] == group.group).all()
        assert (training.images[group.rows] == group.images).all()
        assert (training.camera[group.rows] == group.camera).all()
    for number, training in enumerate(scenarios):
        rows = np.concatenate([group.rows for group in groups if group.scenario == number])
        assert sorted(rows) == list(range(len(training.paths)))


def test_training_code_gets_no_identity() -> None:
    """By type: neither the images of a scenario nor a group or a batch of it has a place for one."""
    for kind in (TrainingImages, Group, Step):
        names = {field.name for field in dataclasses.fields(kind)}
        assert names.isdisjoint({"person", "clothes", "identity", "label", "split", "table"})


def test_each_step_holds_p_times_k_images_of_every_group(groups: list[Group]) -> None:
    labels = make_labels(groups)
    for step in run(groups, labels):
        assert step.pixels.shape == (16, 3, 32, 16)
        assert 0 <= float(step.pixels.min()) <= float(step.pixels.max()) <= 1
        assert step.scenario.tolist() == [0] * 8 + [1] * 8
        assert step.group.tolist() == ([0] * 4 + [1] * 4) * 2
        for part, own in zip(step.parts, labels, strict=True):
            drawn = own[part.numpy()]
            assert (drawn >= 0).all()
            assert len(set(drawn.tolist())) == 2
        assert [len(rows) for rows in step.split(step.pixels)] == [4, 4, 4, 4]


def test_pixels_are_those_of_the_named_places(groups: list[Group], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("itkm.training.groups.augment", lambda images, generator: images)
    for step in run(groups, make_labels(groups)):
        for group, part, pixels in zip(groups, step.parts, step.split(step.pixels), strict=True):
            assert torch.equal(pixels, to_pixels(group.images[part.numpy()], CPU))


def test_augmentation_of_a_scenario_touches_that_scenario_alone(
    groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("itkm.training.groups.augment", lambda images, generator: images)
    monkeypatch.setitem(
        AUGMENTATIONS,
        "channels",
        lambda images, generator: images * 0,
    )
    (step, *_) = run(groups, make_labels(groups), augmentation={"own": "channels", "unknown": "resolution"})
    assert step.pixels[step.scenario == 0].any()
    assert not step.pixels[step.scenario == 1].any()


def test_a_group_without_clusters_sits_the_epoch_out(groups: list[Group]) -> None:
    """One collapsed group must not end the training of all others."""
    labels = make_labels(groups)
    labels[1] = np.full_like(labels[1], -1)
    for step in run(groups, labels):
        assert [len(part) for part in step.parts] == [4, 0, 4, 4]
        assert step.group.tolist() == [0] * 4 + [0] * 4 + [1] * 4
        assert step.split(step.pixels)[1].shape == (0, 3, 32, 16)


def test_same_seed_same_steps(groups: list[Group]) -> None:
    labels = make_labels(groups)
    first, second, other = (run(groups, labels, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(first, second, strict=True))
    assert not all(torch.equal(a.pixels, b.pixels) for a, b in zip(first, other, strict=True))


def test_single_scenario(scenarios: list[TrainingImages]) -> None:
    groups = split_groups(scenarios[:1])
    assert run(groups, make_labels(groups))[0].scenario.tolist() == [0] * 8
