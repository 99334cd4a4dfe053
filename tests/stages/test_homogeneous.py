from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from itkm.errors import InputError
from itkm.models.store import build_encoder, load_model
from itkm.stages import cluster, extract, homogeneous
from itkm.stages.inputs import load_groups, load_scenarios, open_checkpoint
from itkm.stages.layout import Layout
from itkm.training.extraction import extract as extract_features
from toy import SCENARIOS, extract_and_cluster, make_project, make_settings

COLUMNS = ["epoch", "scenario", "group", "images", "clusters", "outliers", "stability", "silhouette", "loss"]


def read_history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_history_has_a_row_for_every_epoch_and_group(trained: Layout) -> None:
    rows = read_history(trained.homogeneous)
    assert list(rows[0]) == COLUMNS
    assert [(row["epoch"], row["scenario"]) for row in rows[::2]] == [(e, s) for e in "12" for s in SCENARIOS]
    assert [row["group"] for row in rows[:4]] == ["visible", "infrared", "outfit-a", "outfit-b"]
    for row in rows:
        assert row["images"] == "32"
        assert 2 <= int(row["clusters"]) <= 16
        assert 0 <= float(row["outliers"]) < 1
        assert math.isnan(float(row["stability"])) == (row["epoch"] == "1")
        assert -1 <= float(row["silhouette"]) <= 1
    for epoch in "12":
        assert len({row["loss"] for row in rows if row["epoch"] == epoch}) == 1


def test_labels_of_every_epoch_are_kept_and_are_those_of_the_history(trained: Layout) -> None:
    rows = read_history(trained.homogeneous)
    for training in load_scenarios(make_settings(trained.root), trained):
        with np.load(trained.homogeneous / f"{training.scenario}.npz", allow_pickle=False) as stored:
            found = dict(stored)
        assert set(found) == {"epoch_labels", "group", "path"}
        assert (found["path"] == training.paths).all()
        assert (found["group"] == training.group).all()
        assert found["epoch_labels"].dtype == np.int32
        own = [row for row in rows if row["scenario"] == training.scenario]
        for epoch, labels in enumerate(found["epoch_labels"]):
            halves = [labels[training.group == half] for half in (0, 1)]
            for half, row in zip(halves, own[2 * epoch : 2 * epoch + 2], strict=True):
                assert half.max() + 1 == int(row["clusters"])
                assert (half < 0).mean() == pytest.approx(float(row["outliers"]))


def test_training_moves_every_part_of_the_encoder(trained: Layout) -> None:
    settings = make_settings(trained.root)
    torch.manual_seed(settings.seed)
    start, _ = build_encoder(settings.model, settings.scenarios)
    before, (after, _, card) = start.state_dict(), load_model(trained.homogeneous)
    assert tuple(card.scenarios) == SCENARIOS
    assert card.scenarios["cr"] == ("high", "low")
    still = {name for name, value in after.state_dict().items() if torch.equal(value, before[name])}
    assert still == {"mean", "std", "neck.bias", "trunk.proj.weight"}  # Stage I has no loss in the text space
    weights = after.state_dict()
    assert not torch.equal(weights["stems.0.0.weight"], weights["stems.1.0.weight"])
    moved = (after.scenario_embedding - start.scenario_embedding).abs()
    assert (moved.amax(1) > 1e-5).all()


def test_frozen_text_tower_is_saved_as_it_was(trained: Layout) -> None:
    start = load_file(trained.root / "models" / "demo" / "model.safetensors")
    for folder in (trained.homogeneous, trained.model):
        saved = load_file(folder / "model.safetensors")
        texts = [name for name in saved if name.startswith("text.")]
        assert len(texts) > 5
        assert all(torch.equal(saved[name], start[name].float()) for name in texts)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_extraction_uses_the_scenarios_own_embedding_and_the_groups_own_branch(trained: Layout, scenario: str) -> None:
    settings = make_settings(trained.root)
    encoder, _, _ = load_model(trained.homogeneous)
    training = load_scenarios(settings, trained)[SCENARIOS.index(scenario)]
    wanted = [
        extract_features(encoder, training.images, scenario=number, group=training.group)[0].numpy()
        for number in range(3)
    ]
    with np.load(trained.features(scenario)) as stored:
        assert (stored["path"] == training.paths).all()
        assert (stored["group"] == training.group).all()
        nearest = [float(np.abs(stored["features"] - own).max()) for own in wanted]
        assert stored["features"].dtype == stored["frozen"].dtype == np.float32
    assert nearest[SCENARIOS.index(scenario)] < 1e-5
    assert sorted(nearest)[1] > 1e-5


def test_clusters_are_dense_within_each_group(trained: Layout) -> None:
    for scenario in SCENARIOS:
        with np.load(trained.clusters(scenario)) as stored:
            labels, group = stored["labels"], stored["group"]
        for half in (0, 1):
            own = labels[group == half]
            assert set(own) - {-1} == set(range(own.max() + 1))


def test_one_scenario_alone_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    layout = make_project(tmp_path, scenarios=("own",))
    settings = make_settings(
        tmp_path,
        scenarios=("own",),
        homogeneous={"epochs": 1, "appearance_prior": 0.5, "camera_centring": True, "freeze_statistics": True},
    )
    homogeneous.run(settings, layout)
    assert [row["group"] for row in read_history(layout.homogeneous)] == ["day", "night"]
    before = load_file(tmp_path / "models" / "demo" / "model.safetensors")
    after = load_file(layout.homogeneous / "model.safetensors")
    frozen = [name for name in before if name.startswith("trunk.") and "running_mean" in name]
    assert "trunk.norm.running_mean" in frozen
    assert len(frozen) > 5
    assert all(torch.equal(after[f"encoder.{name}"], before[name].float()) for name in frozen)


def test_table_with_identities_is_refused(project: Layout) -> None:
    path = project.training_table("cc")
    pd.read_parquet(path).assign(person=1).to_parquet(path)
    with pytest.raises(InputError, match=r"train\.parquet: columns that do not belong here: person"):
        homogeneous.run(make_settings(project.root), project)


def test_outliers_alone_are_an_error_that_names_groups_and_remedy(project: Layout) -> None:
    settings = make_settings(project.root, labelling={"eps": 1e-6, "min_samples": 30})
    with pytest.raises(InputError, match=r"vi/visible: 0 clusters, 100 % outliers.*raise labelling\.eps"):
        homogeneous.run(settings, project)
    with pytest.raises(InputError, match=r"cr, group 0: all 32 images are outliers.*Raise labelling\.eps"):
        cluster.run(settings, project, "cr")


def test_more_neighbours_than_images_name_the_group(project: Layout) -> None:
    settings = make_settings(project.root, labelling={"k1": 40})
    with pytest.raises(InputError, match=r"vi/visible: .*32 features, but k1 = 40"):
        homogeneous.run(settings, project)
    with pytest.raises(InputError, match=r"vi, group 0: .*32 features, but k1 = 40"):
        cluster.run(settings, project, "vi")


def test_missing_model_is_named(project: Layout) -> None:
    (project.homogeneous / "config.json").unlink()
    with pytest.raises(InputError, match=r"homogeneous/config\.json: not found"):
        extract.run(make_settings(project.root), project, "vi")


def test_checkpoint_follows_settings_tables_images_and_weights(project: Layout) -> None:
    settings = make_settings(project.root)

    def folder(changed: object = settings) -> Path:
        assert isinstance(changed, type(settings))
        return open_checkpoint("homogeneous", changed, homogeneous.SECTIONS, project, []).folder

    start = folder()
    assert folder(make_settings(project.root, prompts={"epochs": 9})) == start  # another stage's setting
    assert folder(make_settings(project.root, homogeneous={"temperature": 0.06})) != start
    for path in (
        project.training_table("cc"),
        next(project.data("vi").rglob("*.tar")),
        project.root / "models" / "demo" / "model.safetensors",
        project.root / "models" / "demo" / "config.json",
    ):
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        assert folder() != start, path
        path.write_bytes(content)
    assert folder() == start


def test_the_groups_alone_hold_the_images(trained: Layout) -> None:
    settings = make_settings(trained.root)
    scenarios, groups = load_groups(settings, trained)
    for number, (left, training) in enumerate(zip(scenarios, load_scenarios(settings, trained), strict=True)):
        assert (left.paths == training.paths).all()
        assert left.images.shape == (0, *training.images.shape[1:])
        assert left.images.base is None  # no view, which would keep all of them
        for group in groups[2 * number : 2 * number + 2]:
            assert (group.images == training.images[group.rows]).all()


def test_training_images_have_no_place_for_an_identity(trained: Layout) -> None:
    for training in load_scenarios(make_settings(trained.root), trained):
        assert {field.name for field in dataclasses.fields(training)} == {
            *("paths", "scenario", "group", "camera", "images", "group_names", "camera_names")
        }


def test_stages_between_one_and_two_write_the_same_bytes_again(project: Layout) -> None:
    files = [path(scenario) for path in (project.features, project.clusters) for scenario in SCENARIOS]
    before = [path.read_bytes() for path in files]
    extract_and_cluster(make_settings(project.root), project)
    assert [path.read_bytes() for path in files] == before
