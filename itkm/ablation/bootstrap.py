"""Paired bootstrap intervals over identities and seeds (Efron & Tibshirani 1993, percentile form).

All queries of an identity are drawn together, as they are not independent; the same identities and seeds are drawn for
both models that are compared, so that what is hard for both cancels out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from itkm.errors import InputError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class PairedSums:
    """The differences of one scenario.

    Attributes:
        sums: [K, I] over the queries of each identity, the differences of the average precision with each seed.
        counts: [I] queries of each identity.
    """

    sums: Floats
    counts: Integers

    @property
    def difference(self) -> float:
        """The difference in mAP, averaged over the seeds."""
        return float(self.sums.sum() / (len(self.sums) * self.counts.sum()))


def pair_queries(ours: Sequence[Floats], theirs: Sequence[Floats], person: Integers) -> PairedSums:
    """Sums up `ours` minus `theirs` by identity.

    Args:
        ours: for each seed the average precision [Q] of the queries, NaN where skipped.
        theirs: those of the other model, with the same seeds and queries.
        person: [Q] who is asked for.

    Raises:
        InputError: other queries were skipped.
    """
    differences = np.subtract(ours, theirs)
    known = ~np.isnan(differences)
    if not np.array_equal(known, np.broadcast_to(~np.isnan(theirs[0]), known.shape)):
        raise InputError("paired bootstrap: the models were not scored on the same queries. Run the ablation again.")
    identities, place = np.unique(person[known[0]], return_inverse=True)
    sums = np.stack([np.bincount(place, own[known[0]], len(identities)) for own in differences])
    return PairedSums(np.asarray(sums, dtype=np.float64), np.bincount(place))


def resampled_differences(scenarios: Sequence[PairedSums], *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """[resamples] differences in mAP, averaged over the scenarios.

    Each resample draws, with replacement, as many seeds as there are, the same for all scenarios, and for each scenario
    as many identities as it has, the same for all seeds.

    Args:
        scenarios: their differences, with the same seeds.
        resamples: how often to draw.
        seed: of the drawing.
    """
    rng = np.random.default_rng(seed)
    trainings = len(scenarios[0].sums)
    seeds = rng.multinomial(trainings, np.full(trainings, 1 / trainings), size=resamples)
    drawn = np.zeros(resamples)
    for own in scenarios:
        people = len(own.counts)
        weights = rng.multinomial(people, np.full(people, 1 / people), size=resamples)
        sums = np.einsum("bk,bk->b", seeds, weights @ own.sums.T)
        drawn += sums / (trainings * (weights @ own.counts))
    return drawn / len(scenarios)


def interval(drawn: Floats) -> tuple[float, float]:
    """The middle `LEVEL` of resampled values."""
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
