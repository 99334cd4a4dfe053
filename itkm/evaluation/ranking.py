"""CMC, mAP and mINP by counting.

All three depend only on the ranks of the few positives, and a rank is the number of gallery images that are closer: no
sort of the gallery and no Q x G index matrix. Similarities are computed a block of queries at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from itkm.errors import InputError
from itkm.evaluation.features import FeatureSet
from itkm.evaluation.protocols import CMC_LENGTH, Protocol, Ranking

_BLOCK_ENTRIES = 4_000_000
"""Similarities held at once: 16 MB of float32, whatever the number of queries."""


@dataclass(frozen=True, eq=False)
class Scores:
    """What a protocol says about features; fractions of 1.

    Attributes:
        protocol: its name.
        queries: all queries given.
        skipped: those of them without a valid positive; they enter no mean.
        gallery: gallery images that were ranked (those of unknown persons are not).
        cmc: [20] probability of a hit within each rank.
        mAP: mean average precision, in the step form.
        mINP: mean inverse negative penalty, positives / rank of the last one.
        average_precision: [queries] NaN where skipped; in the order of the queries.
        first_rank: [queries] rank of the best positive from 1, 0 where skipped.
    """

    protocol: str
    queries: int
    skipped: int
    gallery: int
    cmc: NDArray[np.float64]
    mAP: float  # noqa: N815 - the field writes it so, and users read it in the JSON
    mINP: float  # noqa: N815
    average_precision: NDArray[np.float64]
    first_rank: NDArray[np.int64]

    @property
    def rank1(self) -> float:
        """Probability of a hit within rank 1."""
        return float(self.cmc[0])

    @property
    def rank5(self) -> float:
        """Probability of a hit within rank 5."""
        return float(self.cmc[4])

    @property
    def rank10(self) -> float:
        """Probability of a hit within rank 10."""
        return float(self.cmc[9])

    @property
    def rank20(self) -> float:
        """Probability of a hit within rank 20."""
        return float(self.cmc[19])

    def as_dict(self) -> dict[str, str | int | float]:
        """The object that `itkm score --json` prints and `reports/metrics.json` holds."""
        return {
            "protocol": self.protocol,
            "queries": self.queries,
            "skipped": self.skipped,
            "gallery": self.gallery,
            "rank1": self.rank1,
            "rank5": self.rank5,
            "rank10": self.rank10,
            "rank20": self.rank20,
            "mAP": self.mAP,
            "mINP": self.mINP,
        }


def score(query: FeatureSet, gallery: FeatureSet, protocol: Protocol) -> Scores:
    """Ranks the gallery for every query by cosine and scores the ranks.

    A gallery smaller than rank 20 is fine. Ties are broken by gallery index, so results do not depend on a sort.

    Raises:
        InputError: features of different length, or no query with a valid positive.
    """
    if query.features.shape[1] != gallery.features.shape[1]:
        raise InputError(
            f"query features have {query.features.shape[1]} values and gallery features {gallery.features.shape[1]}: "
            "extract both with the same model."
        )
    known = gallery.rows(gallery.person != -1)
    average_precision = np.full(len(query), np.nan)
    inverse_penalty = np.full(len(query), np.nan)
    first_rank = np.zeros(len(query), dtype=np.int64)
    cmc = np.zeros(CMC_LENGTH)
    for row, ranking in _rankings(query, known, protocol):
        hits = np.arange(1, len(ranking.ranks) + 1)
        average_precision[row] = (hits / ranking.ranks).mean()
        inverse_penalty[row] = len(hits) / ranking.ranks[-1]
        first_rank[row] = ranking.ranks[0]
        cmc += protocol.cmc(ranking)
    scored = np.flatnonzero(first_rank)
    if not scored.size:
        raise InputError(
            f"protocol {protocol.name}: none of the {len(query)} queries has a valid positive among the {len(known)} "
            "gallery images of known persons. Check that query and gallery share persons, and that their camera "
            "numbers differ: an image of the same person by the same camera does not count."
        )
    return Scores(
        protocol=protocol.name,
        queries=len(query),
        skipped=len(query) - len(scored),
        gallery=len(known),
        cmc=cmc / len(scored),
        mAP=float(average_precision[scored].mean()),
        mINP=float(inverse_penalty[scored].mean()),
        average_precision=average_precision,
        first_rank=first_rank,
    )


def positive_ranks(similarity: NDArray[np.float32], positives: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rank of each positive: 1 + the number of gallery images that are closer, ties by index.

    Args:
        similarity: [G] one query's similarities, -inf for junk.
        positives: [P] gallery rows, best first, ties by index.

    Returns:
        [P] from 1, increasing.
    """
    if not positives.size:
        return np.empty(0, dtype=np.int64)
    own = similarity[positives]
    # Only what is at least as close as the worst positive can move a rank; with good features that is little.
    rivals = np.sort(similarity[similarity >= own[-1]])
    ranks = 1 + len(rivals) - np.searchsorted(rivals, own, side="right")
    equals = np.searchsorted(rivals, own, side="right") - np.searchsorted(rivals, own, side="left")
    for tied in np.flatnonzero(equals > 1):
        ranks[tied] += np.count_nonzero(similarity[: positives[tied]] == own[tied])
    return np.asarray(ranks, dtype=np.int64)


def _rankings(query: FeatureSet, gallery: FeatureSet, protocol: Protocol) -> Iterator[tuple[int, Ranking]]:
    """(query row, its ranking) for every query that has a valid positive."""
    units = _unit_rows(gallery.features)
    size = max(1, _BLOCK_ENTRIES // max(1, len(gallery)))
    for start in range(0, len(query), size):
        block = query.rows(np.arange(start, min(start + size, len(query))))
        junk = protocol.junk(block, gallery)
        similarity = _unit_rows(block.features) @ units.T
        similarity[junk] = -np.inf
        hit = (block.person[:, None] == gallery.person) & ~junk
        hit[block.person == protocol.distractor] = False
        for offset in np.flatnonzero(hit.any(axis=1)):
            row = similarity[offset]
            positives = np.flatnonzero(hit[offset])
            positives = positives[np.argsort(-row[positives], kind="stable")]
            ranks = positive_ranks(row, positives)
            yield start + int(offset), Ranking(row, gallery.person, positives, ranks)


def _unit_rows(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to norm 1; a zero row stays zero and so has cosine 0 with everything."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(norms, 1e-12), dtype=np.float32)
