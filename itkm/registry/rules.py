"""When a challenger becomes the champion: one pure function, which knows no server and no file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from itkm.config import RegistrySettings
from itkm.training.health import LEAST_SILHOUETTE, LEAST_STABILITY, MOST_OUTLIERS

AVERAGE = "average"
_EXACT = 1e-9  # so that a difference of just the margin counts as the margin, whatever its last bit

Outcome = Literal["promote", "refuse", "evaluate", "rollback"]
Basis = Literal["labels", "health", "both", "hand"]
Pairs = dict[str, dict[str, float | None]]


class ScenarioScores(BaseModel):
    """What is known of a model in one scenario.

    Attributes:
        mAP: fraction of 1; None where no labelled images were there to score on.
        evaluation: hash of the evaluation set and its protocol, "" where there was none.
        health: label-free values of Stage III's last epoch, such as `visible.stability`; None where not known.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    mAP: float | None  # noqa: N815 - written so in the field
    evaluation: str
    health: dict[str, float | None] = Field(default_factory=dict)


class Scores(BaseModel):
    """What is known of a model.

    Attributes:
        architecture: name and image size.
        accepted: whether the stage `validate` accepted all data that it was trained on.
        scenarios: those that the model knows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    architecture: str
    accepted: bool
    scenarios: dict[str, ScenarioScores]


class Decision(BaseModel):
    """What the rules say.

    Attributes:
        outcome: `evaluate` = the champion must first be scored on the candidate's evaluation set; `rollback` is a
            person's, never the rules'.
        basis: what decided: hidden labels, label-free health, in some scenarios the one and in some the other, or a
            person.
        reasons: sentences; of a refusal, each thing that speaks against it.
        scores: mAP of `candidate` and `champion` for each scenario, and their `average` over the scenarios of both.
        health: the same for each label-free value that was compared.
        forced: a person promoted it against the rules.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    outcome: Outcome
    basis: Basis
    reasons: tuple[str, ...]
    scores: Pairs = Field(default_factory=dict)
    health: Pairs = Field(default_factory=dict)
    forced: bool = False


def decide(candidate: Scores, champion: Scores | None, rules: RegistrySettings) -> Decision:
    """Whether a candidate takes the champion's place.

    Where both are scored on the same labelled images, the mean mAP must reach the champion's plus the margin and no
    scenario may lose more than the tolerance. Where a scenario has no labels, its health decides: it must be sound and
    no worse than the champion's by more than the tolerance for health. A value that is no number never promotes.

    Args:
        candidate: the newly trained model.
        champion: the model in use; None where there is none yet.
        rules: margin and tolerances.
    """
    unlabelled = [name for name, own in candidate.scenarios.items() if own.mAP is None]
    basis: Basis = "labels" if not unlabelled else "both" if len(unlabelled) < len(candidate.scenarios) else "health"
    against = [*_unusable(candidate), *_unsound(candidate, unlabelled)]
    if champion is not None:
        if not against and (stale := list(_not_comparable(candidate, champion))):
            return Decision(outcome="evaluate", basis=basis, reasons=tuple(stale))
        against += [*_lost(candidate, champion), *_worse(candidate, champion, rules)]
        against += _less_healthy(candidate, champion, unlabelled, rules)
    reasons = tuple(against) or tuple(_for(candidate, champion, unlabelled))
    return Decision(
        outcome="refuse" if against else "promote",
        basis=basis,
        reasons=reasons,
        scores=_score_pairs(candidate, champion),
        health=_health_pairs(candidate, champion, unlabelled),
    )


def finite(value: float | None) -> float | None:
    """A value as JSON may hold it, which knows no NaN."""
    return None if value is None or not math.isfinite(value) else value


def _unusable(candidate: Scores) -> Iterator[str]:
    """What no champion may have, whatever it is compared with."""
    if not candidate.scenarios:
        yield "The model knows no scenario."
    if not candidate.accepted:
        yield "The validation of the data refused some that it was trained on."
    yield from not_a_number(candidate)


def not_a_number(candidate: Scores) -> Iterator[str]:
    """Scores that never promote, not even by hand."""
    for name, own in candidate.scenarios.items():
        if own.mAP is not None and not math.isfinite(own.mAP):
            yield f"{name}: the mAP is {own.mAP}, which is no number to promote on."


def _unsound(candidate: Scores, unlabelled: list[str]) -> Iterator[str]:
    """What is wrong in itself where health alone tells whether a model is any good."""
    for name in unlabelled:
        health = candidate.scenarios[name].health
        if not health:
            yield f"{name}: no labelled evaluation set and no health values: nothing tells whether the model is good."
        for key, known in health.items():
            value = finite(known)
            if value is None:
                yield f"{name}: {key} is not known, and without an evaluation set health decides."
            elif limit := _broken_limit(key, value):
                yield f"{name}: {key} is {value:.3f}, a sound run has {limit}."


def _broken_limit(key: str, value: float) -> str:
    """The limit of a health value that is beyond it, in words; "" where all is well."""
    kind = key.rpartition(".")[2]
    least = {"stability": LEAST_STABILITY, "silhouette": LEAST_SILHOUETTE}.get(kind)
    if least is not None and value < least:
        return f"at least {least:.3f}"
    return f"at most {MOST_OUTLIERS:.3f}" if kind == "outliers" and value > MOST_OUTLIERS else ""


def _not_comparable(candidate: Scores, champion: Scores) -> Iterator[str]:
    """Where the champion has no number yet on the images that scored the candidate."""
    for name, own in candidate.scenarios.items():
        other = champion.scenarios.get(name)
        if own.mAP is None or other is None:
            continue
        if other.evaluation != own.evaluation:
            yield f"{name}: the champion was scored on another evaluation set and must be evaluated again."
        elif finite(other.mAP) is None:
            yield f"{name}: the champion's mAP is {other.mAP}; it must be evaluated again."


def _lost(candidate: Scores, champion: Scores) -> Iterator[str]:
    for name in sorted(set(champion.scenarios) - set(candidate.scenarios)):
        yield f"{name}: the champion knows this scenario, the candidate does not."


def _worse(candidate: Scores, champion: Scores, rules: RegistrySettings) -> Iterator[str]:
    """Where labels say that the candidate is not better enough, or worse."""
    gains = _gains(candidate, champion)
    for name, gain in gains.items():
        if gain < -rules.tolerance - _EXACT:
            yield f"{name}: mAP {_change(name, candidate, champion)}, more than the tolerance of {rules.tolerance:.3f}."
    if gains and (mean := sum(gains.values()) / len(gains)) < rules.margin - _EXACT:
        yield f"The mean mAP changes by {mean:+.3f}, expected at least {rules.margin:+.3f}."


def _less_healthy(candidate: Scores, champion: Scores, unlabelled: list[str], rules: RegistrySettings) -> Iterator[str]:
    """Where health says that the candidate is worse."""
    for name, pair in _health_pairs(candidate, champion, unlabelled).items():
        own, other = pair["candidate"], pair["champion"]
        if own is None or other is None:
            continue
        loss = own - other if name.endswith("outliers") else other - own
        if loss > rules.health_tolerance + _EXACT:
            yield (
                f"{name} is {own:.3f}, the champion's {other:.3f}: worse by more than the tolerance of "
                f"{rules.health_tolerance:.3f}."
            )


def _for(candidate: Scores, champion: Scores | None, unlabelled: list[str]) -> Iterator[str]:
    """What speaks for a promotion."""
    if champion is None:
        yield "There is no champion yet."
    else:
        for name in _gains(candidate, champion):
            yield f"{name}: mAP {_change(name, candidate, champion)}."
        for name in sorted(set(candidate.scenarios) - set(champion.scenarios)):
            yield f"{name}: new, the champion does not know this scenario."
        if candidate.architecture != champion.architecture:
            yield f"Another architecture: {candidate.architecture}, the champion's is {champion.architecture}."
    for name in unlabelled:
        yield f"{name}: no labelled evaluation set; label-free health decides, and it is sound."


def _gains(candidate: Scores, champion: Scores) -> dict[str, float]:
    """The difference in mAP for each scenario in which labels scored both on the same images."""
    gains: dict[str, float] = {}
    for name, own in candidate.scenarios.items():
        other = champion.scenarios.get(name)
        if own.mAP is not None and other is not None and other.mAP is not None and own.evaluation == other.evaluation:
            gains[name] = own.mAP - other.mAP
    return gains


def _change(name: str, candidate: Scores, champion: Scores) -> str:
    own, other = candidate.scenarios[name].mAP, champion.scenarios[name].mAP
    assert own is not None and other is not None
    return f"{own:.3f} after {other:.3f} ({own - other:+.3f})"


def _score_pairs(candidate: Scores, champion: Scores | None) -> Pairs:
    others: Mapping[str, ScenarioScores] = {} if champion is None else champion.scenarios
    pairs: Pairs = {
        name: {"candidate": finite(own.mAP), "champion": finite(others[name].mAP) if name in others else None}
        for name, own in candidate.scenarios.items()
    }
    both = list({} if champion is None else _gains(candidate, champion)) or list(pairs)
    return {**pairs, AVERAGE: {who: _mean([pairs[name][who] for name in both]) for who in ("candidate", "champion")}}


def _health_pairs(candidate: Scores, champion: Scores | None, unlabelled: list[str]) -> Pairs:
    others: Mapping[str, ScenarioScores] = {} if champion is None else champion.scenarios
    return {
        f"{name}.{key}": {
            "candidate": finite(value),
            "champion": finite(others[name].health.get(key)) if name in others else None,
        }
        for name in unlabelled
        for key, value in candidate.scenarios[name].health.items()
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
