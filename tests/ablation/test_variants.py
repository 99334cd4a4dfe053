from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from itkm.ablation.variants import FULL, VARIANTS, choose_variants, plan_runs, with_overrides
from itkm.config import Settings
from itkm.errors import InputError

PARAMS: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))

CHANGED = {
    "full": set(),
    "single-scenario": set(),
    "no-scenario-embedding": {("model", "scenario_scale", 0.0)},
    "single-frontend": {("model", "branches", "single")},
    "no-separation": {("prompts", "separation_weight", 0.0)},
    "offline-texts": {("heterogeneous", "dynamic_texts", False)},
    "no-chm": {("heterogeneous", "cluster_weight", 0.0)},
    "no-ihm": {("heterogeneous", "instance_weight", 0.0)},
    "no-text": {("heterogeneous", "text_weight", 0.0)},
    "homogeneous-only": {
        *{("heterogeneous", "cluster_weight", 0.0), ("heterogeneous", "instance_weight", 0.0)},
        ("heterogeneous", "text_weight", 0.0),
    },
}


def leaves(settings: Settings) -> set[tuple[str, str, Any]]:
    content = settings.model_dump()
    return {
        (section, key, str(value) if isinstance(value, dict | tuple) else value)
        for section, own in content.items()
        for key, value in (own if isinstance(own, dict) else {"": own}).items()
    }


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_changes_what_it_says_and_nothing_else(name: str) -> None:
    base = Settings.model_validate(with_overrides(PARAMS, {"seed": 5, "evaluate.split": "test"}))
    for run in plan_runs(PARAMS, variants=[name], seeds=[5], split="test"):
        settings = Settings.model_validate(run.params)
        scenarios = {("scenarios", "", str((run.scenario,)))} if run.scenario else set()
        assert leaves(settings) - leaves(base) == CHANGED[name] | scenarios


def test_the_table_is_that_of_the_contract() -> None:
    assert list(CHANGED) == list(VARIANTS)
    assert [name for name, own in VARIANTS.items() if own.alone] == ["single-scenario"]


def test_each_seed_has_each_variant_and_each_scenario_alone() -> None:
    runs = plan_runs(PARAMS, variants=[FULL, "single-scenario"], seeds=[2, 4], split="validation")
    alone = [("single-scenario", name) for name in PARAMS["scenarios"]]
    assert [(run.seed, run.variant, run.scenario) for run in runs] == [
        (seed, *own) for seed in (2, 4) for own in [(FULL, ""), *alone]
    ]
    assert len({run.name for run in runs}) == len(runs)
    assert all(run.params["evaluate"]["split"] == "validation" for run in runs)
    assert [run.params["scenarios"] for run in runs[1:4]] == [[name] for name in PARAMS["scenarios"]]
    assert PARAMS["evaluate"]["split"] == "test"


def test_a_protocol_for_each_scenario_is_cut_to_the_one_alone() -> None:
    params = with_overrides(PARAMS, {"scenarios": ["vi", "cc"], "evaluate.protocol": {"vi": "sysu-all", "cc": "prcc"}})
    runs = plan_runs(params, variants=["single-scenario"], seeds=[1], split="test")
    assert [run.params["evaluate"]["protocol"] for run in runs] == [{"vi": "sysu-all"}, {"cc": "prcc"}]


def test_sections_that_params_leaves_out_are_made() -> None:
    (run,) = plan_runs({"scenarios": ["mine"]}, variants=["no-chm"], seeds=[1], split="test")
    assert Settings.model_validate(run.params).heterogeneous.cluster_weight == 0


def test_the_full_method_is_always_there_and_unknown_names_are_refused() -> None:
    assert choose_variants(["no-text", "no-chm"]) == ["full", "no-chm", "no-text"]
    with pytest.raises(InputError, match=r"'no-cmh' is no variant\. Did you mean 'no-chm'\? Choose from full, single"):
        choose_variants(["no-cmh"])


def test_params_that_are_wrong_name_the_place() -> None:
    with pytest.raises(InputError, match=r"variant full: heterogeneous\.epochs"):
        plan_runs(with_overrides(PARAMS, {"heterogeneous.epochs": 0}), variants=[FULL], seeds=[1], split="test")
