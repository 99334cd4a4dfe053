from __future__ import annotations

import csv
import math
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from itkm.config import Settings
from itkm.files import sha256
from itkm.matching.texts import cluster_texts
from itkm.models.store import load_model
from itkm.stages import heterogeneous
from itkm.stages.heterogeneous import OfflineTexts, Target
from itkm.stages.inputs import load_scenarios
from itkm.stages.layout import Layout
from itkm.training.groups import Group, Step, split_groups
from itkm.training.record import Record
from itkm.training.trainer import Trainer
from toy import SCENARIOS, make_settings

LOSSES = ["loss", "loss_homogeneous", "loss_cluster", "loss_instance", "loss_text"]
HEALTH = ["silhouette", "cycle_consistency", "agreement"]
COLUMNS = ["epoch", "scenario", "group", "images", "clusters", "outliers", "stability"]
COLUMNS += [*LOSSES, "cluster_pairs", "instance_pairs", *HEALTH]


def read_history(layout: Layout) -> list[dict[str, str]]:
    with (layout.heterogeneous / "history.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def begin(layout: Layout, **changes: Any) -> tuple[Settings, list[Group], list[OfflineTexts], Trainer]:
    """What `run` has in hand before its first epoch."""
    settings = make_settings(layout.root, heterogeneous=changes)
    groups = split_groups(load_scenarios(settings, layout))
    offline = heterogeneous.load_offline(settings, layout, groups)
    encoder, _, _ = load_model(layout.homogeneous)
    return settings, groups, offline, Trainer(encoder, settings.heterogeneous, device=torch.device("cpu"))


def test_history_columns_and_objective(trained: Layout) -> None:
    rows = read_history(trained)
    assert list(rows[0]) == COLUMNS
    assert len(rows) == 2 * 2 * len(SCENARIOS)
    for row in rows:
        total, own, clusters, instances, texts = (float(row[name]) for name in LOSSES)
        assert total == pytest.approx(own + 0.5 * clusters + 0.25 * instances + texts, rel=1e-5)
        assert int(row["cluster_pairs"]) == int(row["clusters"])  # progressive: nobody is left over
        assert 0 < int(row["instance_pairs"]) <= 5 * int(row["images"])
        assert math.isnan(float(row["stability"])) == (row["epoch"] == "1")
        assert all(-1 <= float(row[name]) <= 1 for name in HEALTH)


def test_matches_of_every_epoch_are_kept(trained: Layout) -> None:
    rows = read_history(trained)
    for scenario in SCENARIOS:
        with np.load(trained.heterogeneous / f"{scenario}.npz", allow_pickle=False) as stored:
            found = dict(stored)
        own = [row for row in rows if row["scenario"] == scenario]
        for half in (0, 1):
            labels, partners = found["epoch_labels"][:, found["group"] == half], found[f"epoch_partner_{half}"]
            for epoch, row in enumerate(own[half::2]):
                count = labels[epoch].max() + 1
                assert count == int(row["clusters"])
                assert (partners[epoch] >= 0).tolist() == [place < count for place in range(partners.shape[1])]


def test_matches_of_the_finished_model(trained: Layout) -> None:
    for scenario, training in zip(SCENARIOS, load_scenarios(make_settings(trained.root), trained), strict=True):
        with np.load(trained.heterogeneous / f"{scenario}.npz", allow_pickle=False) as stored:
            found = dict(stored)
        keys = ("labels", "group", "path", "partner_0", "partner_1", "pairs", "pair_score")
        assert set(found) == {*keys, "epoch_labels", "epoch_partner_0", "epoch_partner_1"}
        assert (found["path"] == training.paths).all()
        assert (found["group"] == training.group).all()
        first, second = found["pairs"].T
        assert (found["group"][first] == 0).all()
        assert (found["group"][second] == 1).all()
        assert found["pair_score"].dtype == np.float32
        assert np.abs(found["pair_score"]).max() <= 1 + 1e-5
        for half, other in ((0, 1), (1, 0)):
            labels, partner = found["labels"][found["group"] == half], found[f"partner_{half}"]
            assert len(partner) == labels.max() + 1
            assert 0 <= partner.min() <= partner.max() < len(found[f"partner_{other}"])


def test_only_the_image_encoder_learns(trained: Layout) -> None:
    before, after = (load_file(folder / "model.safetensors") for folder in (trained.homogeneous, trained.model))
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {
        *("encoder.mean", "encoder.std", "encoder.neck.bias", "logit_scale"),
        *(name for name in before if name.startswith("text.")),
    }
    assert sha256(trained.model / "texts.safetensors") == sha256(trained.prompts / "texts.safetensors")
    assert (after["encoder.scenario_embedding"] - before["encoder.scenario_embedding"]).abs().amax(1).min() > 1e-5
    assert tuple(load_model(trained.model)[2].scenarios) == SCENARIOS


def test_frozen_clip_and_offline_texts_are_the_same_files_after_training(project: Layout) -> None:
    files = [*(project.root / "models").rglob("*.*"), *project.prompts.iterdir(), *project.homogeneous.iterdir()]
    files = [path for path in files if path.is_file()]
    before = {path: sha256(path) for path in files}
    settings, groups, offline, trainer = begin(project)
    kept = [(own.texts.copy(), own.instances.copy()) for own in offline]
    train_one_epoch(trainer, groups, offline, settings)
    assert {path: sha256(path) for path in files} == before
    for own, (texts, instances) in zip(offline, kept, strict=True):
        assert (own.texts == texts).all()
        assert (own.instances == instances).all()


def train_one_epoch(
    trainer: Trainer, groups: list[Group], offline: list[OfflineTexts], settings: Settings
) -> heterogeneous.Round:
    current = heterogeneous.Round(heterogeneous.prepare(trainer, groups, offline, settings))
    steps = list(heterogeneous.train_steps(trainer, groups, current, settings, 0, scale=10.0))
    assert steps == list(range(1, current.steps + 1))
    return current


def train_one_step(layout: Layout, **weights: float) -> tuple[dict[str, float], Tensor]:
    """The losses of an epoch of one step, and a weight that they move."""
    off = {"cluster_weight": 0.0, "instance_weight": 0.0, "text_weight": 0.0}
    settings, groups, offline, trainer = begin(layout, identities=8, **{**off, **weights})
    losses = train_one_epoch(trainer, groups, offline, settings).losses
    return losses, trainer.encoder.state_dict()["stems.0.0.weight"]


def test_objective_without_weights_is_that_of_stage_one_and_each_weight_changes_it(trained: Layout) -> None:
    losses, without = train_one_step(trained)
    assert losses["loss"] == pytest.approx(losses["loss_homogeneous"], rel=1e-6)
    assert losses["loss_text"] > 0
    for name in ("cluster", "instance", "text"):
        changed, moved = train_one_step(trained, **{f"{name}_weight": 2.0})
        assert changed["loss"] == pytest.approx(losses["loss"] + 2 * losses[f"loss_{name}"], rel=1e-5)
        assert not torch.equal(moved, without)


def test_step_losses_take_each_memory_from_the_right_group() -> None:
    """Two groups of two clusters in two dimensions: the positives are known by hand."""
    eye, flipped = torch.eye(2), torch.eye(2).flip(0)
    options = make_settings_of_losses()

    def target(memory: Tensor, partner: list[int], labels: list[int]) -> Target:
        own = torch.tensor(labels)
        return Target(memory, memory.clone(), memory, own, torch.tensor(partner), torch.arange(2)[:, None], own)

    targets = [target(eye, [1, 0], [0, 1]), target(flipped, [1, 0], [0, 1])]
    groups = [
        Group(f"vi/{number}", 0, number, np.arange(2), np.empty(0, np.uint8), np.zeros(2, np.int64), 1 - number)
        for number in (0, 1)
    ]
    step = Step(torch.empty(0), torch.empty(0), torch.empty(0), [torch.arange(2), torch.arange(2)])
    queries = [eye, flipped]
    losses = heterogeneous.step_losses(queries, queries, step, groups, targets, options, scale=1.0)
    right, wrong = -torch.log_softmax(torch.tensor([1.0, 0.0]), 0)
    assert torch.allclose(losses[0], 2 * right)  # own memory, own label
    assert torch.allclose(losses[1], 2 * right)  # cluster 0 of one group is cluster 1 of the other
    assert torch.allclose(losses[2], 2 * wrong)  # the positives pair equal places, which are opposite here
    assert torch.allclose(losses[3], 2 * right)
    options = make_settings_of_losses(instance_pairs="consistent")
    losses = heterogeneous.step_losses(queries, queries, step, groups, targets, options, scale=1.0)
    assert losses[2] == 0  # the only other instance is in the matched cluster, and so no negative
    options = make_settings_of_losses(instance_pairs="consistent", cluster_weight=0.0)
    losses = heterogeneous.step_losses(queries, queries, step, groups, targets, options, scale=1.0)
    assert torch.allclose(losses[2], 2 * wrong)


def make_settings_of_losses(**changes: Any) -> Any:
    from itkm.config import HeterogeneousSettings

    return HeterogeneousSettings(temperature=1.0, label_smoothing=0.0, **changes)


def test_dynamic_texts_follow_the_newest_labels_and_others_stay_offline() -> None:
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(2, 4)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    old, new = np.array([0, 0, 1, 1, -1]), np.array([1, 1, 1, 0, -1])
    offline = OfflineTexts(texts, old, texts[[0, 0, 1, 1, 1]])
    found, labels = heterogeneous.current_texts(offline, new, dynamic=True)
    assert (labels == new).all()
    assert np.allclose(found, cluster_texts(offline.instances, new))
    found, labels = heterogeneous.current_texts(offline, new, dynamic=False)
    assert (labels == old).all()
    assert (found == texts).all()


def test_outlier_of_stage_two_takes_the_text_nearest_to_its_image(project: Layout) -> None:
    path = project.clusters("cc")
    with np.load(path) as stored:
        labels, group = stored["labels"].copy(), stored["group"]
    row = int(np.flatnonzero(group == 1)[3])
    labels[row] = -1
    np.savez(path, labels=labels, group=group)
    settings, groups, offline, _ = begin(project)
    own = next(offline[place] for place, each in enumerate(groups) if each.name == "cc/outfit-b")
    with np.load(project.features("cc")) as stored:
        nearest = int((stored["frozen"][row] @ own.texts.T).argmax())
    place = int((group[:row] == 1).sum())
    assert own.labels[place] == -1
    assert np.allclose(own.instances[place], own.texts[nearest], atol=1e-6)
    assert settings.heterogeneous.dynamic_texts


@pytest.mark.parametrize("pairs", [("mutual", "mutual"), ("transport", "consistent")])
def test_options_run_to_the_end_on_one_scenario(project: Layout, pairs: tuple[str, str]) -> None:
    options = {"epochs": 1, "dynamic_texts": False, "match_centring": True}
    settings = make_settings(
        project.root,
        scenarios=("vi",),
        labelling={"outliers": "singletons"},
        heterogeneous={**options, "cluster_pairs": pairs[0], "instance_pairs": pairs[1]},
    )
    from itkm.stages import homogeneous, prompts
    from toy import extract_and_cluster

    homogeneous.run(settings, project)
    extract_and_cluster(settings, project)
    prompts.run(settings, project)
    heterogeneous.run(settings, project)
    rows = read_history(project)
    assert [row["group"] for row in rows] == ["visible", "infrared"]
    assert all(0 < int(row["cluster_pairs"]) <= int(row["clusters"]) for row in rows)
    assert {float(row["outliers"]) for row in rows} == {0.0}


def test_a_group_that_loses_its_clusters_sits_out(trained: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, groups, offline, trainer = begin(trained, epochs=1)
    found = [own.labels.copy() for own in offline]
    found[2] = np.full_like(found[2], -1)
    answers = iter(found)
    monkeypatch.setattr("itkm.training.rounds.labels_of", lambda *_: next(answers))
    record = Record()
    heterogeneous.close_round(train_one_epoch(trainer, groups, offline, settings), record, groups)
    rows = record.history
    assert [row["clusters"] == 0 for row in rows] == [False, False, True, False, False, False]
    assert rows[3]["cluster_pairs"] == 0
    assert np.isfinite(rows[0]["loss"])  # type: ignore[call-overload]
    assert record.epoch_partners(2).shape == (1, 0)
