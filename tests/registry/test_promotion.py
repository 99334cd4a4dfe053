"""Who is the champion after each command, and after each command that was cut off at each of its writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from registered import add_model, scored

from itkm.config import RegistrySettings
from itkm.errors import InputError, ItkmError
from itkm.registry.fetch import fetch
from itkm.registry.promotion import Promotion, compare, promote, repair, rollback
from itkm.registry.rules import Decision, Scores
from itkm.registry.store import CHALLENGER, CHAMPION, PREVIOUS, Registry, Version

RULES = RegistrySettings(margin=0.01, tolerance=0.05)


def no_evaluation(folder: Path, old: Scores) -> Scores:
    raise AssertionError(f"{folder} must not be evaluated again")


def promoted(registry: Registry, root: Path, number: str, **options: object) -> Promotion:
    return promote(registry, number, RULES, evaluate=no_evaluation, root=root, **options)  # type: ignore[arg-type]


def state(registry: Registry) -> tuple[str | None, str | None]:
    """The champion and the previous one."""
    aliases = registry.aliases()
    return aliases.get(CHAMPION), aliases.get(PREVIOUS)


def challenge(registry: Registry, root: Path, mean_ap: float) -> str:
    number = add_model(registry, root, mean_ap).number
    registry.point(CHALLENGER, number)
    return number


def test_versions_take_each_others_place_and_roll_back_step_by_step(registry: Registry, root: Path) -> None:
    for mean_ap in (0.1, 0.2, 0.3):
        found = promoted(registry, root, challenge(registry, root, mean_ap))
        assert found.decision.outcome == "promote"
    assert state(registry) == ("3", "2")
    assert registry.holder(CHALLENGER) is None
    for expected in (("2", "1"), ("1", None)):
        found, finished = rollback(registry, reason="worse at night", root=root)
        assert (found.champion, found.previous) == state(registry) == expected
        assert not finished
    with pytest.raises(InputError, match="version 1 replaced no other"):
        rollback(registry, reason="", root=root)
    assert state(registry) == ("1", None)


def test_a_refused_challenger_stays_one_and_its_reasons_are_kept(registry: Registry, root: Path) -> None:
    promoted(registry, root, challenge(registry, root, 0.5))
    found = promoted(registry, root, challenge(registry, root, 0.4))
    assert found.decision.outcome == "refuse"
    assert (found.champion, found.previous) == ("1", None)
    assert registry.version(CHALLENGER).number == "2"
    (kept,) = registry.version("2").decisions
    assert kept["outcome"] == "refuse"
    assert kept["champion"] == "1"
    assert "vi: mAP 0.400 after 0.500 (-0.100), more than the tolerance of 0.050." in kept["reasons"]


def test_force_promotes_with_its_reason_but_never_nan(registry: Registry, root: Path) -> None:
    promoted(registry, root, challenge(registry, root, 0.5))
    found = promoted(registry, root, challenge(registry, root, 0.1), force="the old camera is gone")
    assert found.decision.forced and state(registry) == ("2", "1")
    assert registry.version("2").decisions[-1]["reasons"][0] == "Promoted by hand: the old camera is gone"
    found = promoted(registry, root, challenge(registry, root, float("nan")), force="I want it")
    assert found.decision.outcome == "refuse" and state(registry) == ("2", "1")


def test_compare_decides_and_changes_nothing(registry: Registry, root: Path) -> None:
    promoted(registry, root, challenge(registry, root, 0.5))
    challenge(registry, root, 0.7)
    found = compare(registry, CHALLENGER, None, RULES)
    assert found.decision.outcome == "promote"
    assert compare(registry, "1", "2", RULES).decision.outcome == "refuse"
    assert state(registry) == ("1", None)
    assert registry.version("2").decisions == []


def test_another_evaluation_set_scores_both_again_and_keeps_it(registry: Registry, root: Path) -> None:
    promoted(registry, root, add_model(registry, root, scored(0.9, evaluation="old")).number)
    add_model(registry, root, scored(0.5, evaluation="new"))
    asked: list[str] = []

    def evaluate(folder: Path, old: Scores) -> Scores:
        content = (folder / "model.safetensors").read_text()
        asked.append(content)
        return scored(0.4 if content == "weights of 0" else 0.5, evaluation="new")

    found = promote(registry, "2", RULES, evaluate=evaluate, root=root)
    assert sorted(asked) == ["weights of 0", "weights of 1"]
    assert found.decision.outcome == "promote"
    assert "another evaluation set" in found.decision.reasons[0]
    assert registry.version("1").scores == scored(0.4, evaluation="new")


def test_a_champion_that_stays_incomparable_is_kept(registry: Registry, root: Path) -> None:
    promoted(registry, root, add_model(registry, root, scored(0.5, evaluation="old")).number)
    add_model(registry, root, scored(0.6, evaluation="new"))
    found = promote(registry, "2", RULES, evaluate=lambda _, old: old, root=root)
    assert found.decision.outcome == "refuse" and state(registry) == ("1", None)


def test_damaged_files_are_neither_promoted_nor_rolled_back_to(registry: Registry, root: Path) -> None:
    for mean_ap in (0.1, 0.2):
        promoted(registry, root, challenge(registry, root, mean_ap))
    challenge(registry, root, 0.3)
    for file in (root / "mlartifacts").rglob("model.safetensors"):
        file.write_text("spoilt")
    for cached in (root / ".itkm" / "models").rglob("model.safetensors"):
        cached.write_text("spoilt")
    with pytest.raises(InputError, match=r"models:/itkm/3: model.safetensors is not the file that was registered"):
        promoted(registry, root, "3")
    with pytest.raises(InputError, match="models:/itkm/1"):
        rollback(registry, reason="", root=root)
    assert state(registry) == ("2", "1")


def test_a_champion_that_changed_meanwhile_is_not_overruled(
    registry: Registry, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mean_ap in (0.1, 0.2, 0.3):
        add_model(registry, root, mean_ap)
    promoted(registry, root, "1")
    record = Registry.record

    def meanwhile(self: Registry, version: Version, decision: Decision, *, against: str | None) -> None:
        record(self, version, decision, against=against)
        monkeypatch.setattr(Registry, "record", record)
        promoted(registry, root, "3")

    monkeypatch.setattr(Registry, "record", meanwhile)
    with pytest.raises(ItkmError, match="the champion changed meanwhile, to version 3"):
        promoted(registry, root, "2")
    assert state(registry) == ("3", "1")
    assert promoted(registry, root, "2").decision.outcome == "refuse"


class Killed(BaseException):
    """What stands for a kill -9: no handler of ours runs."""


@dataclasses.dataclass(frozen=True)
class Dying(Registry):
    """A registry whose process dies at its n-th write, before or after it."""

    writes: list[int] = dataclasses.field(default_factory=list)
    dies_at: int = 10**6
    done: bool = False

    def _write(self, write: Callable[[], None]) -> None:
        self.writes.append(1)
        if len(self.writes) == self.dies_at and not self.done:
            raise Killed
        write()
        if len(self.writes) == self.dies_at:
            raise Killed

    def point(self, alias: str, number: str | None) -> None:
        self._write(lambda: Registry.point(self, alias, number))

    def note(self, version: Version, tag: str, value: str) -> None:
        self._write(lambda: Registry.note(self, version, tag, value))


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_promote_cut_off_at_any_write_has_a_champion_and_is_repaired(
    registry: Registry, root: Path, *, done: bool
) -> None:
    promoted(registry, root, challenge(registry, root, 0.1))
    for mean_ap in range(2, 30):
        old = registry.aliases()[CHAMPION]
        number = challenge(registry, root, mean_ap / 10)
        dying = Dying(registry.client, dies_at=mean_ap - 1, done=done)
        finished = False
        try:
            promoted(dying, root, number)
            finished = True
        except Killed:
            pass
        assert registry.aliases()[CHAMPION] in (old, number)
        if registry.version(number).decided:  # nobody will look at it again
            assert (state(registry), registry.holder(CHALLENGER)) == ((number, old), None)
        fetch(f"models:/itkm@{CHAMPION}")
        assert promoted(registry, root, number).decision.outcome == "promote"
        assert state(registry) == (number, old)
        assert registry.holder(CHALLENGER) is None
        if finished:
            assert mean_ap > 4, "fewer writes than a promotion has"
            return
    pytest.fail("no promotion came to its end")


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_rollback_cut_off_at_any_write_goes_one_step_back_and_no_further(
    registry: Registry, root: Path, *, done: bool
) -> None:
    for mean_ap in (0.1, 0.2, 0.3):
        promoted(registry, root, challenge(registry, root, mean_ap))
    for dies_at in range(1, 20):
        dying = Dying(registry.client, dies_at=dies_at, done=done)
        try:
            rollback(dying, reason="", root=root)
            assert dies_at > 2, "fewer writes than a rollback has"
            return
        except Killed:
            pass
        assert registry.aliases()[CHAMPION] in ("2", "3")
        cut_off_at_the_last = done and state(registry) == ("2", "1")  # nothing was left to do
        if not cut_off_at_the_last:
            rollback(registry, reason="", root=root)
        assert state(registry) == ("2", "1")
        promoted(registry, root, "3", force="again")
    pytest.fail("no rollback came to its end")


def test_a_cut_off_promotion_of_the_previous_one_is_no_rollback(registry: Registry, root: Path) -> None:
    for mean_ap in (0.1, 0.2):
        promoted(registry, root, challenge(registry, root, mean_ap))
    with pytest.raises(Killed):  # its decision, what it replaces, and the alias are written; `previous` is not
        promoted(Dying(registry.client, dies_at=3, done=True), root, "1", force="the first was better")
    assert state(registry) == ("1", "1")
    found, finished = rollback(registry, reason="no", root=root)
    assert not finished and (found.champion, found.previous) == ("2", "1")


def test_repair_of_a_whole_state_writes_nothing(registry: Registry, root: Path) -> None:
    assert repair(registry) is None
    for mean_ap in (0.1, 0.2):
        promoted(registry, root, challenge(registry, root, mean_ap))
    counting = Dying(registry.client)
    champion = repair(counting)
    assert champion is not None and champion.number == "2"
    assert counting.writes == []
