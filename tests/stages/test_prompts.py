from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from itkm.stages import prompts
from itkm.stages.layout import Layout
from toy import SCENARIOS, make_settings

COLUMNS = ["epoch", "loss", "loss_image_text", "loss_text_image", "loss_separation", "between_scenarios"]


def test_history_columns_and_sum(trained: Layout) -> None:
    with (trained.prompts / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == COLUMNS
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for row in rows:
        parts = [float(row[name]) for name in COLUMNS[2:5]]
        assert float(row["loss"]) == pytest.approx(parts[0] + parts[1] + 0.5 * parts[2], rel=1e-5)
        assert -1 <= float(row["between_scenarios"]) <= 1


def test_every_cluster_has_a_unit_text(trained: Layout) -> None:
    texts = load_file(trained.prompts / "texts.safetensors")
    assert set(texts) == {f"{scenario}/{group}" for scenario in SCENARIOS for group in (0, 1)}
    for scenario in SCENARIOS:
        with np.load(trained.clusters(scenario)) as stored:
            for group in (0, 1):
                own = texts[f"{scenario}/{group}"]
                assert len(own) == stored["labels"][stored["group"] == group].max() + 1
                assert torch.allclose(own.norm(dim=1), torch.ones(len(own)), atol=1e-5)


def test_clusters_are_numbered_through_and_outliers_left_out(project: Layout) -> None:
    with np.load(project.clusters("cc")) as stored:
        labels, group = stored["labels"].copy(), stored["group"]
    with np.load(project.features("cc")) as stored:
        frozen = stored["frozen"]
    outliers = [np.flatnonzero((labels == 0) & (group == 1))[0], np.flatnonzero((labels == 1) & (group == 0))[0]]
    labels[outliers] = -1
    np.savez(project.clusters("cc"), labels=labels, group=group)
    found = prompts.load_clusters(make_settings(project.root), project, torch.device("cpu"))
    total = sum(count for _, count in found.names)
    assert len(found.scenario) == len(found.group) == total
    assert sorted(set(found.cluster.tolist())) == list(range(total))
    assert found.scenario.tolist() == sorted(found.scenario.tolist())
    offset = sum(count for _, count in found.names[:3])
    assert found.names[3][0] == "cc/1"
    for cluster in range(found.names[3][1]):
        members = frozen[(group == 1) & (labels == cluster)]
        assert (found.images[found.cluster == offset + cluster].numpy() == members).all()
        assert found.group[offset + cluster] == 1


@pytest.mark.parametrize(
    ("count", "batch", "sizes"), [(10, 5, [5, 5]), (11, 5, [5, 6]), (12, 5, [5, 5, 2]), (1, 5, [1])]
)
def test_batches_cover_all_rows_and_never_end_with_a_single_one(count: int, batch: int, sizes: list[int]) -> None:
    batches = list(prompts.shuffled(count, batch, torch.Generator().manual_seed(0)))
    assert [len(rows) for rows in batches] == sizes
    assert sorted(torch.cat(batches).tolist()) == list(range(count))


def test_between_scenarios_is_the_mean_cosine_of_the_pairs_across() -> None:
    texts = torch.nn.functional.normalize(torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    scenario = [0, 0, 1, 2, 1]
    cosines = [float(texts[i] @ texts[j]) for i in range(5) for j in range(i) if scenario[i] != scenario[j]]
    found = prompts.between_scenarios(texts, torch.tensor(scenario))
    assert found == pytest.approx(sum(cosines) / len(cosines), rel=1e-5)
    assert prompts.between_scenarios(texts, torch.zeros(5)) == 0


def test_separation_loss_separates_the_texts_of_different_scenarios(project: Layout) -> None:
    found = {}
    for weight in (0.0, 20.0):
        settings = make_settings(
            project.root, prompts={"epochs": 8, "learning_rate": 0.02, "separation_weight": weight, "batch": 64}
        )
        prompts.run(settings, project)
        with (project.prompts / "history.csv").open(newline="") as stream:
            found[weight] = float(list(csv.DictReader(stream))[-1]["between_scenarios"])
    assert found[20.0] < found[0.0] - 0.1


def test_one_scenario_has_nothing_to_separate(project: Layout) -> None:
    prompts.run(make_settings(project.root, scenarios=("cr",)), project)
    with (project.prompts / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["loss_separation"] for row in rows} == {"0.0"}
    assert all(math.isfinite(float(row["loss"])) for row in rows)
    assert set(load_file(project.prompts / "texts.safetensors")) == {"cr/0", "cr/1"}
