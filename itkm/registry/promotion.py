"""Champion, challenger and previous: who takes whose place, so that a kill at any moment leaves a valid champion.

One alias says who the champion is, and MLflow moves an alias in one step. Which version a champion replaced is a tag
that is written before that step; the alias `previous` only shows it, and every command first puts it right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from itkm.config import RegistrySettings
from itkm.errors import InputError, ItkmError
from itkm.registry.fetch import fetch_version
from itkm.registry.rules import Decision, Scores, decide, not_a_number
from itkm.registry.store import CHALLENGER, CHAMPION, PREVIOUS, REPLACES, SCORES, Registry, Version

Evaluate = Callable[[Path, Scores], Scores]
"""The scores of the model in a folder on the evaluation set as it is now, given what was known of it."""


@dataclass(frozen=True)
class Promotion:
    """A decision that was carried out.

    Attributes:
        decision: what was decided and why.
        version: on which.
        champion: the champion's number now, None where there is none.
        previous: what it replaced, None where there is none.
    """

    decision: Decision
    version: str
    champion: str | None
    previous: str | None


def compare(registry: Registry, name: str, other: str | None, rules: RegistrySettings) -> Promotion:
    """What `promote` would decide on the recorded scores; changes nothing.

    Args:
        registry: where the versions are.
        name: number or alias of the candidate.
        other: number or alias of what it is compared with; None = the champion, if there is one.
        rules: margin and tolerances.

    Raises:
        InputError: no such version.
    """
    candidate = registry.version(name)
    champion = registry.holder(CHAMPION) if other is None else registry.version(other)
    decision = decide(candidate.scores, champion.scores if champion else None, rules)
    return _state(registry, decision, candidate)


def promote(
    registry: Registry, name: str, rules: RegistrySettings, *, evaluate: Evaluate, root: Path, force: str | None = None
) -> Promotion:
    """Decides by the rules whether a version becomes the champion, records why, and carries it out.

    Args:
        registry: where the versions are.
        name: number or alias of the candidate.
        rules: margin and tolerances.
        evaluate: scores a model again where the evaluation sets differ.
        root: the project's folder; the models' cache is in it.
        force: the reason why a person promotes it whatever the rules say; a value that is no number stays refused.

    Raises:
        InputError: no such version, damaged files, or the champion cannot be evaluated again here.
        ItkmError: the champion changed meanwhile; nothing was done.
    """
    candidate, champion = registry.version(name), repair(registry)
    if champion is not None and candidate.number == champion.number:
        registry.point(CHALLENGER, _unless(registry.holder(CHALLENGER), candidate))
        said = Decision(outcome="promote", basis="hand", reasons=(f"Version {candidate.number} is the champion.",))
        return _state(registry, said, candidate)
    fetch_version(candidate, registry, root=root)  # what cannot be loaded must not be the champion
    decision = _decide(registry, candidate, champion, rules, evaluate=evaluate, root=root)
    if force is not None and decision.outcome == "refuse" and not list(not_a_number(candidate.scores)):
        reasons = (f"Promoted by hand: {force}", *decision.reasons)
        decision = decision.model_copy(update={"outcome": "promote", "forced": True, "reasons": reasons})
    registry.record(candidate, decision, against=champion.number if champion else None)
    if decision.outcome == "promote":
        _enthrone(registry, candidate, champion)
    return _state(registry, decision, candidate)


def rollback(registry: Registry, *, reason: str, root: Path) -> tuple[Promotion, bool]:
    """Makes the version that the champion replaced the champion again.

    Returns:
        the state, and whether this only finished a rollback that was cut off.

    Raises:
        InputError: no champion, none before it, or one whose files are damaged.
    """
    before = registry.aliases().get(PREVIOUS)
    champion = repair(registry)
    if champion is None:
        raise InputError("there is no champion to roll back. `itkm model list` shows what is registered.")
    if before == champion.number and _last_outcome(registry) == "rollback":
        return _state(registry, _rollback("A rollback that was cut off is finished."), champion), True
    if champion.replaces is None:
        raise InputError(f"version {champion.number} replaced no other, so there is nothing to roll back to.")
    target = registry.version(champion.replaces)
    fetch_version(target, registry, root=root)
    decision = _rollback(f"Version {champion.number} rolled back to {target.number}: {reason}")
    registry.record(champion, decision, against=target.number)
    registry.point(CHAMPION, target.number)
    repair(registry)
    return _state(registry, decision, target), False


def repair(registry: Registry) -> Version | None:
    """Points `previous` to what the champion replaced, whatever was cut off before; returns the champion."""
    champion = registry.holder(CHAMPION)
    if champion is not None and registry.aliases().get(PREVIOUS) != champion.replaces:
        registry.point(PREVIOUS, champion.replaces)
    return champion


def _enthrone(registry: Registry, candidate: Version, champion: Version | None) -> None:
    """Carries a promotion out. The champion changes in the one line that moves its alias; all else can be repaired."""
    registry.note(candidate, REPLACES, champion.number if champion else "")
    now = registry.aliases().get(CHAMPION)
    if now != (champion.number if champion else None):
        raise ItkmError(f"the champion changed meanwhile, to version {now}. Type the same command again.")
    registry.point(CHAMPION, candidate.number)
    repair(registry)
    registry.point(CHALLENGER, _unless(registry.holder(CHALLENGER), candidate))


def _decide(
    registry: Registry,
    candidate: Version,
    champion: Version | None,
    rules: RegistrySettings,
    *,
    evaluate: Evaluate,
    root: Path,
) -> Decision:
    """The rules' decision; where the evaluation sets differ, both are scored on the present one first."""
    scores = {version.number: version.scores for version in (candidate, champion) if version}
    decision = decide(candidate.scores, champion.scores if champion else None, rules)
    if decision.outcome != "evaluate" or champion is None:
        return decision
    for version in (champion, candidate):
        scores[version.number] = evaluate(fetch_version(version, registry, root=root), version.scores)
        registry.note(version, SCORES, scores[version.number].model_dump_json())
    again = decide(scores[candidate.number], scores[champion.number], rules)
    first = (*decision.reasons, "Both were evaluated on the present evaluation set.")
    outcome = "refuse" if again.outcome == "evaluate" else again.outcome
    return again.model_copy(update={"outcome": outcome, "reasons": (*first, *again.reasons)})


def _state(registry: Registry, decision: Decision, version: Version) -> Promotion:
    aliases = registry.aliases()
    return Promotion(decision, version.number, aliases.get(CHAMPION), aliases.get(PREVIOUS))


def _unless(holder: Version | None, promoted: Version) -> str | None:
    """The challenger's number, None where it was promoted."""
    return None if holder is None or holder.number == promoted.number else holder.number


def _rollback(reason: str) -> Decision:
    return Decision(outcome="rollback", basis="hand", reasons=(reason,))


def _last_outcome(registry: Registry) -> str | None:
    """The outcome of the newest decision on any version."""
    decisions = [decision for version in registry.versions() for decision in version.decisions]
    return max(decisions, key=lambda own: str(own["decided_at"]))["outcome"] if decisions else None
