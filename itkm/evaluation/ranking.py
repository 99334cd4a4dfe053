"""CMC, mAP and mINP by counting.

All three depend only on the ranks of the few positives, and a rank is the number of gallery images that are closer: no
sort of the gallery and no Q x G index matrix. Similarities come a block of queries at a time; a gallery that is drawn
is a selection of their columns, so that nothing is compared twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from itkm.errors import InputError
from itkm.evaluation.features import FeatureSet
from itkm.evaluation.protocols import Protocol
from itkm.evaluation.ranks import Shown, View, chance_of_rank1, look, persons_before, ranks_of_positives
from itkm.evaluation.similarity import Similarity as Similarity
from itkm.evaluation.similarity import cosine
from itkm.evaluation.verification import OperatingPoint, PairTally
from itkm.progress import progress

Integers = NDArray[np.int64]

CMC_LENGTH = 20
"""CMC is kept for ranks 1 to 20, the longest that the field prints."""

Compare = Callable[[FeatureSet, FeatureSet], Similarity]
"""(queries, gallery) to a similarity that depends on all of them, such as re-ranking."""

Answers = tuple[Integers, NDArray[np.float32]]
"""Rows of queries [q], and their similarities with the whole gallery, or with what is shown of it [q, G]."""

_BLOCK_ENTRIES = 4_000_000
"""Similarities held at once: 16 MB of float32, whatever the number of queries."""


@dataclass(frozen=True, eq=False)
class Scores:
    """What a protocol says about features; fractions of 1.

    Where galleries are drawn, each number is the mean over the draws.

    Attributes:
        protocol: its name.
        queries: the queries that the protocol asks with.
        skipped: those of them without a valid positive; they enter no mean.
        gallery: gallery images that were ranked (those of unknown persons are not).
        cmc: [20] probability of a hit within each rank.
        mAP: mean average precision, in the step form.
        mINP: mean inverse negative penalty, positives / rank of the last one.
        average_precision: [Q] NaN where skipped or not asked; in the order of all queries given.
        first_rank: [Q] rank of the best positive from 1, 0 where skipped or not asked.
        trials: how many galleries were drawn; 1 where none was.
        deviation: standard deviation of rank1, mAP and mINP over the draws; of those that two draws or more give.
        rank1_closed_form: the mean of rank-1 over every possible draw; None where no single images are drawn.
        verification: thresholds for "are these two the same person?"; empty where not asked for.
        reverse: the scores with query and gallery exchanged, where the protocol is published both ways.
    """

    protocol: str
    queries: int
    skipped: int
    gallery: int
    cmc: NDArray[np.float64]
    mAP: float  # noqa: N815 - the field writes it so, and users read it in the JSON
    mINP: float  # noqa: N815
    average_precision: NDArray[np.float64]
    first_rank: NDArray[np.float64]
    trials: int
    deviation: dict[str, float]
    rank1_closed_form: float | None
    verification: tuple[OperatingPoint, ...]
    reverse: Scores | None = None

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

    def as_dict(self) -> dict[str, object]:
        """The object that `itkm score --json` prints and `reports/metrics.json` holds.

        Keys about draws, verification and the reverse are there only where the scores have them.
        """
        always = {
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
        drawn = {"trials": self.trials, "deviation": self.deviation} if self.deviation else {}
        closed = {} if self.rank1_closed_form is None else {"rank1_closed_form": self.rank1_closed_form}
        points = {"verification": [asdict(point) for point in self.verification]} if self.verification else {}
        reverse = {"reverse": self.reverse.as_dict()} if self.reverse else {}
        return {**always, **drawn, **closed, **points, **reverse}


def score(
    query: FeatureSet,
    gallery: FeatureSet,
    protocol: Protocol,
    *,
    similarity: Similarity | None = None,
    compare: Compare | None = None,
    verification: bool = False,
) -> Scores:
    """Ranks the gallery for every query and scores the ranks.

    A gallery smaller than rank 20 is fine. Ties are broken by gallery index, so results do not depend on a sort.

    Args:
        query: [Q] images or texts that ask.
        gallery: [G] images.
        protocol: who asks, what is shown, and how it counts.
        similarity: (start, stop) of the queries to their similarities [stop - start, G]; None takes the cosine.
        compare: makes the similarity instead, from what asks and what is shown alone, and anew for each drawn gallery.
        verification: whether to look for thresholds, over all pairs of what asks and what is shown that are not junk.

    Raises:
        InputError: features of different length or without direction, labels that the protocol needs and that are not
            there, nobody who asks, nothing that is shown, or no query with a valid positive.
    """
    asking, candidates = protocol.asking(query), protocol.shown(gallery)
    whole = Shown.of(gallery, candidates)
    drawn = [Shown.of(gallery, rows) for rows in protocol.draw(gallery, candidates)] if protocol.draw else [whole]
    trials = [RankTally(shown, len(query), count_persons=protocol.count_persons) for shown in drawn]
    everything = RankTally(whole, len(query)) if protocol.precision_of_all else None
    chances = ChanceTally(whole, len(query)) if protocol.single_shot else None
    pairs = PairTally(whole, len(asking)) if verification else None
    further = [tally for tally in (everything, chances, pairs) if tally is not None]
    if compare is None:
        blocks = _blocks(similarity or cosine(query, gallery), asking, queries=len(query), gallery=len(gallery))
        _count(blocks, query, gallery, protocol, [*trials, *further])
    else:
        for shown in dict.fromkeys([*drawn, *(tally.shown for tally in further)]):
            own = compare(query.rows(asking), gallery.rows(shown.rows))
            places = _blocks(own, np.arange(len(asking)), queries=len(asking), gallery=len(shown.rows))
            blocks = ((asking[place], block) for place, block in places)
            _count(blocks, query, gallery, protocol, [tally for tally in (*trials, *further) if tally.shown is shown])
    return _summary(protocol, asking, trials, [everything] if everything else trials, chances, pairs)


def score_as_published(
    query: FeatureSet,
    gallery: FeatureSet,
    protocol: Protocol,
    *,
    compare: Compare | None = None,
    verification: bool = False,
) -> Scores:
    """The scores of `score`, with those of the reverse direction where the protocol is published both ways.

    Args:
        query, gallery, protocol, compare, verification: as for `score`.

    Raises:
        InputError: as `score` in either direction.
    """
    scores = [
        score(asking, shown, protocol, compare=compare, verification=verification)
        for asking, shown in ((query, gallery), (gallery, query))[: 1 + protocol.both_ways]
    ]
    return replace(scores[0], reverse=scores[1]) if protocol.both_ways else scores[0]


class RankTally:
    """What the ranks of one gallery say of each query.

    Attributes:
        shown: the gallery.
        precision: [Q] average precision, NaN where there is no valid positive.
        penalty: [Q] positives / rank of the last one, likewise.
        first: [Q] rank of the best positive, likewise.
        hit: [Q] the rank by which CMC counts, likewise: `first`, or the same among persons.
    """

    def __init__(self, shown: Shown, queries: int, *, count_persons: bool = False) -> None:
        self.shown = shown
        self.precision, self.penalty, self.first, self.hit = np.full((4, queries), np.nan)
        self._count_persons = count_persons

    def add(self, rows: Integers, view: View) -> None:
        """Enters the queries of one view."""
        asking, starts, counts = np.unique(view.asking[view.positive], return_index=True, return_counts=True)
        if not asking.size:
            return
        ranks = ranks_of_positives(view)
        hits = np.arange(1, len(ranks) + 1) - np.repeat(starts, counts)
        scored = rows[asking]
        self.precision[scored] = np.add.reduceat(hits / ranks, starts) / counts
        self.penalty[scored] = counts / ranks[starts + counts - 1]
        self.first[scored] = self.hit[scored] = ranks[starts]
        if self._count_persons:
            self.hit[scored] = 1 + persons_before(view, asking, view.columns[view.positive][starts])


class ChanceTally:
    """Rank-1 over every possible draw of one image a person: `rank1` [Q], NaN where there is no valid positive."""

    def __init__(self, shown: Shown, queries: int) -> None:
        self.shown = shown
        self.rank1 = np.full(queries, np.nan)

    def add(self, rows: Integers, view: View) -> None:
        """Enters the queries of one view."""
        asking, starts = np.unique(view.asking[view.positive], return_index=True)
        columns = np.split(view.columns[view.positive], starts[1:])
        for row, positives in zip(asking, columns, strict=False):
            self.rank1[rows[row]] = chance_of_rank1(view, row, positives)


def _count(
    blocks: Iterable[Answers],
    query: FeatureSet,
    gallery: FeatureSet,
    protocol: Protocol,
    tallies: Sequence[RankTally | ChanceTally | PairTally],
) -> None:
    """Enters the queries of every block into every tally; tallies of one gallery follow each other."""
    for rows, block in blocks:
        view = None
        for tally in tallies:
            if view is None or view.shown is not tally.shown:
                view = look(block, rows, query, gallery, protocol, tally.shown)
            tally.add(rows, view)


def _blocks(compare: Similarity, asking: Integers, *, queries: int, gallery: int) -> Iterator[Answers]:
    """(rows of queries that ask, their similarities with the whole gallery), a block after the other."""
    size = max(1, _BLOCK_ENTRIES // gallery)
    starts = range(0, queries, size)
    for start in progress(starts, total=len(starts), title="rank"):
        stop = min(start + size, queries)
        rows = asking[(asking >= start) & (asking < stop)]
        if rows.size:
            block = compare(start, stop)
            yield rows, block if len(rows) == stop - start else block[rows - start]


def _summary(
    protocol: Protocol,
    asking: Integers,
    trials: Sequence[RankTally],
    precise: Sequence[RankTally],
    chances: ChanceTally | None,
    pairs: PairTally | None,
) -> Scores:
    """The means over the queries, and over the draws.

    Args:
        protocol: the rules.
        asking: rows of the queries that ask.
        trials: the galleries that CMC ranks.
        precise: those that mAP and mINP rank.
        chances: rank-1 in closed form, where the protocol has one.
        pairs: the pairs of the verification, where asked for.
    """
    average_precision = _mean_of_draws([own.precision for own in precise])
    scored = int(np.count_nonzero(~np.isnan(average_precision)))
    hits = [own.hit[~np.isnan(own.hit)] for own in trials]
    if not scored or not any(own.size for own in hits):
        raise InputError(
            f"protocol {protocol.name}: none of the {len(asking)} queries has a valid positive among the "
            f"{len(precise[0].shown.rows)} gallery images of known persons. Check that query and gallery share "
            "persons, and that their camera numbers differ where images of the same camera do not count "
            f"({protocol.about})."
        )
    cmc = np.array([(own[:, None] <= np.arange(1, CMC_LENGTH + 1)).mean(axis=0) for own in hits if own.size])
    precisions, penalties = [_mean(own.precision) for own in precise], [_mean(own.penalty) for own in precise]
    drawn = {"rank1": cmc[:, 0].tolist(), "mAP": precisions, "mINP": penalties}
    return Scores(
        protocol=protocol.name,
        queries=len(asking),
        skipped=len(asking) - scored,
        gallery=len(precise[0].shown.rows),
        cmc=cmc.mean(axis=0),
        mAP=_mean(precisions),
        mINP=_mean(penalties),
        average_precision=average_precision,
        first_rank=np.nan_to_num(_mean_of_draws([own.first for own in trials])),
        trials=len(trials),
        deviation={name: float(known.std()) for name, own in drawn.items() if (known := _known(own)).size > 1},
        rank1_closed_form=_mean(chances.rank1) if chances else None,
        verification=pairs.points() if pairs else (),
    )


def _mean(values: ArrayLike) -> float:
    """The mean of what is not NaN; NaN where nothing is."""
    known = _known(values)
    return float(known.mean()) if known.size else math.nan


def _known(values: ArrayLike) -> NDArray[np.float64]:
    """What is not NaN."""
    numbers = np.asarray(values, dtype=np.float64)
    return numbers[~np.isnan(numbers)]


def _mean_of_draws(values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """[Q] the mean of each query over the draws in which it has a positive; NaN where it never has one."""
    counts = np.count_nonzero(~np.isnan(values), axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(values, axis=0) / counts)
