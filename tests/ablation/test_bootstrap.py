from __future__ import annotations

import numpy as np
import pytest

from itkm.ablation.bootstrap import LEVEL, PairedSums, interval, pair_queries, resampled_differences
from itkm.errors import InputError


def slow_resamples(
    scenarios: list[tuple[np.ndarray, np.ndarray]], *, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """From the definition: draw seeds and identities, gather all queries of what was drawn, average.

    Args:
        scenarios: for each the differences [K, Q] of its queries and who is asked for [Q].
    """
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        trainings = rng.integers(len(scenarios[0][0]), size=len(scenarios[0][0]))
        means = []
        for differences, person in scenarios:
            people = rng.choice(np.unique(person), size=len(np.unique(person)))
            queries = np.concatenate([np.flatnonzero(person == own) for own in people])
            means.append(np.mean([differences[training, queries].mean() for training in trainings]))
        drawn.append(np.mean(means))
    return np.mean(drawn), np.std(drawn)


def scenario(rng: np.random.Generator, *, effect: float, seeds: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Differences of unequally many queries of 12 identities: effect, and noise of identity, seed and query."""
    person = np.repeat(np.arange(12) * 7, rng.integers(1, 6, 12))
    of_person = rng.normal(0, 0.1, 84)[person]
    noise = rng.normal(0, 0.05, (seeds, 1)) + rng.normal(0, 0.05, (seeds, len(person)))
    return effect + of_person + noise, person


def sums_of(differences: np.ndarray, person: np.ndarray) -> PairedSums:
    return pair_queries(list(differences), list(np.zeros_like(differences)), person)


@pytest.mark.parametrize("seed", range(3))
def test_resamples_are_those_of_the_slow_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scenarios = [scenario(rng, effect=0.03), scenario(rng, effect=-0.01)]
    fast = resampled_differences([sums_of(*own) for own in scenarios], resamples=4000)
    mean, deviation = slow_resamples(scenarios, resamples=1500, seed=seed)
    assert fast.mean() == pytest.approx(mean, abs=4 * deviation / np.sqrt(1500))
    assert fast.std() == pytest.approx(deviation, rel=0.12)


def test_the_difference_is_that_of_the_means() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.random((2, 3, 30))
    person = rng.integers(0, 5, 30)
    assert pair_queries(list(ours), list(theirs), person).difference == pytest.approx(ours.mean() - theirs.mean())


def test_intervals_cover_a_planted_difference_about_as_often_as_they_say() -> None:
    covered = 0
    for number in range(120):
        rng = np.random.default_rng(number)
        low, high = interval(resampled_differences([sums_of(*scenario(rng, effect=0.05, seeds=8))], resamples=400))
        covered += low <= 0.05 <= high
    # The percentile interval of 12 identities is somewhat narrow; ignoring seeds or identities covers below 0.75.
    assert 0.82 <= covered / 120 <= 0.99
    assert LEVEL == 0.95


def test_a_clear_difference_has_its_sign() -> None:
    rng = np.random.default_rng(5)
    better = resampled_differences([sums_of(*scenario(rng, effect=0.4))])
    worse = resampled_differences([sums_of(*scenario(rng, effect=-0.4))])
    assert interval(better)[0] > 0
    assert interval(worse)[1] < 0


def test_what_is_hard_for_both_cancels_out() -> None:
    """Persons of very different difficulty, one small constant difference: the interval is that difference."""
    rng = np.random.default_rng(1)
    person = np.arange(30) // 3
    theirs = rng.random((2, 10))[:, person]
    drawn = resampled_differences([pair_queries(list(theirs + 0.01), list(theirs), person)])
    assert interval(drawn) == pytest.approx((0.01, 0.01))


def test_one_seed_and_the_same_draw_every_time() -> None:
    own = sums_of(*scenario(np.random.default_rng(2), effect=0.1, seeds=1))
    assert np.array_equal(resampled_differences([own]), resampled_differences([own]))
    assert resampled_differences([own]).std() > 0


def test_skipped_queries_count_for_nobody_and_must_be_the_same() -> None:
    ours, theirs = np.array([[0.5, np.nan, 0.7]]), np.array([[0.25, np.nan, 0.2]])
    pairs = pair_queries(list(ours), list(theirs), np.array([4, 4, 9]))
    assert pairs.counts.tolist() == [1, 1]
    assert pairs.sums.tolist() == [[0.25, pytest.approx(0.5)]]
    with pytest.raises(InputError, match="not scored on the same queries"):
        pair_queries([np.array([np.nan, 1.0])], [np.array([1.0, 1.0])], np.array([1, 2]))
