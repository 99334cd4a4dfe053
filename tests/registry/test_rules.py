"""The promotion rules, case by case, and what holds whatever the numbers are."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itkm.config import RegistrySettings
from itkm.registry.rules import ScenarioScores, Scores, decide

RULES = RegistrySettings(margin=0.01, tolerance=0.05, health_tolerance=0.1)
SOUND = {"visible.stability": 0.8, "visible.outliers": 0.2, "visible.silhouette": 0.3, "agreement": 0.6}


def scores(architecture: str = "demo 96x48", *, accepted: bool = True, **mean_ap: float | None) -> Scores:
    """Scenarios by their mAP; all scored on one set, or without labels sound."""
    scenarios = {
        name: ScenarioScores(mAP=value, evaluation="" if value is None else "set", health=SOUND)
        for name, value in mean_ap.items()
    }
    return Scores(architecture=architecture, accepted=accepted, scenarios=scenarios)


def of_set(evaluation: str, value: float | None) -> Scores:
    own = ScenarioScores(mAP=value, evaluation=evaluation, health=SOUND)
    return Scores(architecture="demo 96x48", accepted=True, scenarios={"vi": own})


def healthy(**changes: float | None) -> Scores:
    """One scenario without labels."""
    health = {**SOUND, **{name.replace("_", "."): value for name, value in changes.items()}}
    own = ScenarioScores(mAP=None, evaluation="", health=health)
    return Scores(architecture="demo 96x48", accepted=True, scenarios={"vi": own})


@pytest.mark.parametrize(
    ("candidate", "champion", "outcome"),
    [
        pytest.param(scores(vi=0.52), scores(vi=0.50), "promote", id="more than the margin"),
        pytest.param(scores(vi=0.51), scores(vi=0.50), "promote", id="just the margin"),
        pytest.param(scores(vi=0.509), scores(vi=0.50), "refuse", id="less than the margin"),
        pytest.param(scores(vi=0.50), scores(vi=0.50), "refuse", id="equal"),
        pytest.param(scores(vi=0.45, cc=0.60), scores(vi=0.50, cc=0.50), "promote", id="just the tolerance"),
        pytest.param(scores(vi=0.44, cc=0.70), scores(vi=0.50, cc=0.50), "refuse", id="one scenario falls"),
        pytest.param(scores(vi=0.3), None, "promote", id="no champion yet"),
        pytest.param(scores(vi=math.nan), None, "refuse", id="NaN without champion"),
        pytest.param(scores(vi=math.nan), scores(vi=0.1), "refuse", id="NaN"),
        pytest.param(scores(vi=math.inf), scores(vi=0.1), "refuse", id="infinity"),
        pytest.param(scores(vi=0.9, cc=math.nan), scores(vi=0.1, cc=0.1), "refuse", id="NaN in one scenario"),
        pytest.param(scores(vi=0.9, accepted=False), scores(vi=0.1), "refuse", id="validation failed"),
        pytest.param(scores(), None, "refuse", id="no scenario"),
        pytest.param(scores(vi=0.9), scores(vi=0.5, cc=0.5), "refuse", id="a scenario is lost"),
        pytest.param(scores(vi=0.6, cc=0.1), scores(vi=0.5), "promote", id="a scenario is new"),
        pytest.param(scores(cc=0.9), scores(vi=0.5), "refuse", id="no scenario in common"),
        pytest.param(scores("ViT-B-16 256x128", vi=0.6), scores(vi=0.5), "promote", id="another architecture"),
        pytest.param(of_set("new", 0.6), of_set("old", 0.5), "evaluate", id="another evaluation set"),
        pytest.param(of_set("new", 0.6), of_set("", None), "evaluate", id="the champion was never scored"),
        pytest.param(of_set("set", 0.6), of_set("set", math.nan), "evaluate", id="the champion's is NaN"),
        pytest.param(of_set("new", math.nan), of_set("old", 0.5), "refuse", id="NaN is not worth an evaluation"),
        pytest.param(healthy(), None, "promote", id="no labels, sound, no champion"),
        pytest.param(healthy(), healthy(), "promote", id="no labels, as healthy"),
        pytest.param(healthy(), of_set("old", 0.9), "promote", id="the evaluation set is gone, sound"),
        pytest.param(healthy(visible_stability=0.69), healthy(), "refuse", id="no labels, less stable"),
        pytest.param(healthy(visible_stability=0.70), healthy(), "promote", id="no labels, just stable enough"),
        pytest.param(healthy(visible_outliers=0.31), healthy(), "refuse", id="no labels, more outliers"),
        pytest.param(healthy(visible_outliers=0.0), healthy(), "promote", id="no labels, fewer outliers"),
        pytest.param(healthy(visible_outliers=0.7), None, "refuse", id="no labels, most are outliers"),
        pytest.param(healthy(visible_stability=0.1), None, "refuse", id="no labels, not stable"),
        pytest.param(healthy(visible_silhouette=-0.1), None, "refuse", id="no labels, clusters overlap"),
        pytest.param(healthy(visible_stability=math.nan), None, "refuse", id="no labels, NaN"),
        pytest.param(healthy(visible_stability=None), healthy(), "refuse", id="no labels, not known"),
        pytest.param(healthy(), healthy(visible_stability=None), "promote", id="no labels, champion's not known"),
        pytest.param(scores(vi=0.6, cc=None), scores(vi=0.5, cc=None), "promote", id="labels in one scenario"),
        pytest.param(scores(vi=0.5, cc=None), scores(vi=0.5, cc=None), "refuse", id="labels in one, no gain there"),
    ],
)
def test_rules(candidate: Scores, champion: Scores | None, outcome: str) -> None:
    decision = decide(candidate, champion, RULES)
    assert decision.outcome == outcome
    assert decision.reasons and all(reason.endswith(".") for reason in decision.reasons)
    assert not decision.forced


def test_without_health_and_labels_nothing_is_promoted() -> None:
    blind = Scores(architecture="a", accepted=True, scenarios={"vi": ScenarioScores(mAP=None, evaluation="")})
    decision = decide(blind, None, RULES)
    assert decision.outcome == "refuse"
    assert "nothing tells whether the model is good" in decision.reasons[0]


@pytest.mark.parametrize(
    ("candidate", "basis"),
    [(scores(vi=0.6), "labels"), (healthy(), "health"), (scores(vi=0.6, cc=None), "both")],
)
def test_a_decision_says_what_decided(candidate: Scores, basis: str) -> None:
    decision = decide(candidate, None, RULES)
    assert decision.basis == basis
    assert any("label-free health decides" in reason for reason in decision.reasons) == (basis != "labels")


def test_a_refusal_names_every_reason_with_its_numbers() -> None:
    decision = decide(scores(vi=0.30, cc=0.2), scores(vi=0.50, cc=0.2, cr=0.9), RULES)
    assert len(decision.reasons) == 3
    assert "cr: the champion knows this scenario, the candidate does not." in decision.reasons
    assert "vi: mAP 0.300 after 0.500 (-0.200), more than the tolerance of 0.050." in decision.reasons
    assert "The mean mAP changes by -0.100, expected at least +0.010." in decision.reasons


def test_the_numbers_are_the_scores_and_their_mean_over_common_scenarios() -> None:
    decision = decide(scores(vi=0.6, cc=0.4, new=0.1), scores(vi=0.5, cc=0.3), RULES)
    assert decision.scores["vi"] == {"candidate": 0.6, "champion": 0.5}
    assert decision.scores["new"] == {"candidate": 0.1, "champion": None}
    assert decision.scores["average"] == {"candidate": pytest.approx(0.5), "champion": pytest.approx(0.4)}


def test_a_decision_is_json_even_of_nan() -> None:
    decision = decide(scores(vi=math.nan), scores(vi=0.5), RULES)
    assert decision.scores["vi"] == {"candidate": None, "champion": 0.5}
    assert "NaN" not in decision.model_dump_json()


def test_scores_survive_their_tag() -> None:
    own = scores(vi=0.25, cc=None)
    assert Scores.model_validate_json(own.model_dump_json()) == own
    spoilt = Scores.model_validate_json(scores(vi=math.nan).model_dump_json())
    assert math.isnan(spoilt.scenarios["vi"].mAP or 0.0)


fraction = st.floats(0, 1, allow_nan=False)
pairs = st.dictionaries(st.sampled_from("abcd"), st.tuples(fraction, fraction), min_size=1)


@given(pairs=pairs)
def test_promoted_means_better_on_average_and_nowhere_much_worse(pairs: dict[str, tuple[float, float]]) -> None:
    candidate = scores(**{name: own for name, (own, _) in pairs.items()})
    champion = scores(**{name: other for name, (_, other) in pairs.items()})
    gains = [own - other for own, other in pairs.values()]
    wanted = sum(gains) / len(gains) >= RULES.margin - 1e-9 and min(gains) >= -RULES.tolerance - 1e-9
    assert (decide(candidate, champion, RULES).outcome == "promote") == wanted


@given(pairs=pairs)
def test_two_models_never_both_replace_each_other(pairs: dict[str, tuple[float, float]]) -> None:
    first = scores(**{name: own for name, (own, _) in pairs.items()})
    second = scores(**{name: other for name, (_, other) in pairs.items()})
    outcomes = {decide(first, second, RULES).outcome, decide(second, first, RULES).outcome}
    assert outcomes != {"promote"}
