from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_runs import make_finding

from itkm.ablation.findings import Failure, Finding, load, save
from itkm.ablation.results import difference_rows, epoch_table, gain_rows, health_rows, result_rows
from itkm.ablation.variants import Run

SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def outcomes() -> list[Finding | Failure]:
    """CHM gains 10 points, IHM costs 5, a model per scenario is 2 worse; a training of `no-text` failed."""
    found: list[Finding | Failure] = []
    for seed in SEEDS:
        found.append(make_finding("full", seed, gain=0.1))
        found += [make_finding("single-scenario", seed, gain=0.08, scenarios=[name]) for name in ("vi", "cc")]
        found += [make_finding("no-chm", seed, gain=0.0), make_finding("no-ihm", seed, gain=0.15)]
    return [*found, Failure(Run("no-text", 1, "", {}), "no group has two clusters")]


def test_differences_have_the_planted_size_and_sign(outcomes: list[Finding | Failure]) -> None:
    table = difference_rows(outcomes).set_index(["variant", "stage", "scenario"])
    for name, planted in (("no-chm", -0.1), ("no-ihm", 0.05), ("single-scenario", -0.02)):
        for scenario in ("vi", "cc", "average"):
            row = table.loc[name, "heterogeneous", scenario]
            assert row["difference"] == pytest.approx(planted, abs=0.01)
            assert row["low"] < row["difference"] < row["high"]
            assert row["low"] * row["high"] > 0  # the noise is small: zero is outside
            assert row["rank1_difference"] == pytest.approx(row["difference"] / 2)
            assert (row["seeds"], row["identities"]) == (3, 40 if scenario == "average" else 20)
        assert table.loc[name, "homogeneous", "average"]["difference"] == 0
    average = table.xs("average", level="scenario")
    parts = table.drop(index="average", level="scenario")
    assert average.loc["no-chm", "heterogeneous"]["mAP"] == pytest.approx(
        parts.xs(("no-chm", "heterogeneous"), level=("variant", "stage"))["mAP"].mean()
    )
    assert math.isnan(table.loc["full", "heterogeneous", "vi"]["difference"])
    assert list(dict.fromkeys(table.index.get_level_values("variant"))) == [
        *("full", "single-scenario", "no-chm", "no-ihm")
    ]


def test_the_difference_is_that_of_the_scores(outcomes: list[Finding | Failure]) -> None:
    scores = result_rows(outcomes)
    final = scores[(scores["stage"] == "heterogeneous") & (scores["scenario"] == "vi")]
    means = final.groupby("variant")["mAP"].mean()
    table = difference_rows(outcomes).set_index(["variant", "stage", "scenario"])
    assert table.loc["no-chm", "heterogeneous", "vi"]["difference"] == pytest.approx(means["no-chm"] - means["full"])


def test_gains_are_over_zero_shot_and_beside_the_single_models(outcomes: list[Finding | Failure]) -> None:
    table = gain_rows(outcomes).set_index("scenario")
    assert list(table.index) == ["vi", "cc", "average"]
    for _, row in table.iterrows():
        assert row["gain"] == pytest.approx(0.1, abs=0.01)
        assert row["gain"] == pytest.approx(row["heterogeneous"] - row["zero_shot"])
        assert 0 < row["low"] < row["gain"] < row["high"]
        assert row["least"] <= row["gain"]
        assert row["heterogeneous"] - row["single"] == pytest.approx(0.02, abs=0.01)
        assert row["seeds"] == 3 and row["deviation"] > 0
    assert table.loc["average", "homogeneous"] == pytest.approx(table.loc[["vi", "cc"], "homogeneous"].mean())
    without = gain_rows([own for own in outcomes if own.run.variant != "single-scenario"])
    assert without["single"].isna().all()
    assert gain_rows([make_finding("no-chm", 1, gain=0.1)]).empty


def test_only_seeds_of_both_are_compared() -> None:
    outcomes = [make_finding("full", seed, gain=0.1) for seed in SEEDS] + [make_finding("no-chm", 2, gain=0.0)]
    table = difference_rows(outcomes)
    assert table[table["variant"] == "no-chm"]["seeds"].tolist() == [1] * 6
    assert table[table["variant"] == "full"]["seeds"].tolist() == [3] * 6
    assert difference_rows([make_finding("no-chm", 2, gain=0.0)]).empty


def test_order_of_the_queries_does_not_matter() -> None:
    ours, theirs = make_finding("no-chm", 1, gain=0.0), make_finding("full", 1, gain=0.1)
    shuffled = replace(ours, queries=ours.queries.sample(frac=1, random_state=0))
    assert difference_rows([theirs, ours]).equals(difference_rows([theirs, shuffled]))


def test_a_failed_run_has_a_row_that_says_why(outcomes: list[Finding | Failure]) -> None:
    table = result_rows(outcomes)
    (row,) = table[table["variant"] == "no-text"].to_dict("records")
    assert row["status"] == "failed: no group has two clusters"
    assert math.isnan(row["mAP"])
    finished = table[table["status"] == "finished"]
    assert len(finished) == 3 * (2 + 2 + 2 + 2) * 4  # seeds, scenarios of four variants, stages
    assert result_rows([outcomes[-1]])["variant"].tolist() == ["no-text"]


def test_health_is_correlated_over_the_runs(outcomes: list[Finding | Failure]) -> None:
    table = health_rows(outcomes).set_index(["scenario", "measure"])
    runs = [own for own in outcomes if isinstance(own, Finding) and "vi" in own.metrics["scenarios"]]
    values = [own.metrics["scenarios"]["vi"]["health"]["heterogeneous"]["day"]["stability"] for own in runs]
    scores = [own.metrics["scenarios"]["vi"]["heterogeneous"]["mAP"] for own in runs]
    ranks = np.argsort(np.argsort(values)), np.argsort(np.argsort(scores))
    assert table.loc["vi", "stability"]["runs"] == 12
    assert table.loc["vi", "stability"]["correlation"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert table.loc["vi", "stability"]["correlation"] > 0.5
    assert table.loc["vi", "silhouette"]["correlation"] == pytest.approx(-table.loc["vi", "stability"]["correlation"])
    assert math.isnan(table.loc["vi", "outliers"]["correlation"])  # the same in all runs
    assert table.loc["vi", "agreement"]["runs"] == table.loc["vi", "cycle_consistency"]["runs"] == 0
    few = health_rows(outcomes[:4]).set_index(["scenario", "measure"])
    assert few.loc["vi", "stability"]["runs"] == 3
    assert math.isnan(few.loc["vi", "stability"]["correlation"])


def test_epochs_of_all_runs_are_one_table(outcomes: list[Finding | Failure]) -> None:
    table = epoch_table(outcomes)
    assert list(table.columns[:5]) == ["variant", "seed", "scenario", "stage", "epoch"]
    assert len(table) == 3 * 8 * 12
    assert epoch_table([outcomes[-1]]).empty


def test_a_finding_is_found_again(outcomes: list[Finding | Failure], tmp_path: Path) -> None:
    own = outcomes[0]
    assert isinstance(own, Finding)
    folder = tmp_path / "findings" / own.run.name
    assert load(own.run, folder) is None
    save(own, folder)
    again = load(own.run, folder)
    assert again is not None
    assert (again.metrics, again.computed, again.seconds) == (own.metrics, own.computed, own.seconds)
    pd.testing.assert_frame_equal(again.queries, own.queries.reset_index(drop=True))
    pd.testing.assert_frame_equal(again.epochs, own.epochs)
    assert [path.name for path in folder.parent.iterdir()] == [own.run.name]
