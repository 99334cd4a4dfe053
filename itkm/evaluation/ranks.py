"""Ranks of the positives in a block of similarities, by counting what is closer.

Images of one person are found by sorting the gallery's identities once, so that nothing but the similarities
themselves is ever as large as queries x gallery.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from itkm.evaluation.features import FeatureSet
from itkm.evaluation.protocols import Protocol

Integers = NDArray[np.int64]
Block = NDArray[np.float32]

_FEW, _MANY = 32, 16
"""Sorting is sooner done than counting where one image in `_FEW` is as close, or more than `_MANY` are to be ranked."""


@dataclass(frozen=True, eq=False)
class Shown:
    """The part of a gallery that is ranked, and the images of each person in it.

    Attributes:
        rows: [g] rows of the gallery, increasing; a place in this list is a column of the similarities.
        persons: [I] the identities, increasing.
        identity: [g] the place of each image's person in `persons`.
        by_person: [g] columns, those of one person together and increasing.
        sizes: [I] images of each person.
        starts: [I] where each begins in `by_person`.
    """

    rows: Integers
    persons: Integers
    identity: Integers
    by_person: Integers
    sizes: Integers
    starts: Integers

    @classmethod
    def of(cls, gallery: FeatureSet, rows: Integers) -> Shown:
        """Sorts the identities of some rows of a gallery."""
        persons, identity, sizes = np.unique(gallery.person[rows], return_inverse=True, return_counts=True)
        by_person = np.argsort(identity, kind="stable")
        return cls(rows, persons, identity, by_person, sizes, np.cumsum(sizes) - sizes)

    def own_pairs(self, persons: Integers) -> tuple[Integers, Integers]:
        """The columns that show the persons [q]: place in `persons` [P] and column [P], both increasing."""
        identity = np.minimum(np.searchsorted(self.persons, persons), len(self.persons) - 1)
        counts = np.where(self.persons[identity] == persons, self.sizes[identity], 0)
        before = np.cumsum(counts) - counts
        columns = self.by_person[np.arange(counts.sum()) + np.repeat(self.starts[identity] - before, counts)]
        return np.repeat(np.arange(len(persons)), counts), columns


@dataclass(frozen=True, eq=False)
class View:
    """What a block of q queries sees of the g images shown, and their own persons' images in it.

    Attributes:
        shown: the images.
        similarity: [q, g]; -inf where a camera is blind for another.
        asking: [P] query of each pair of one person, increasing.
        columns: [P] its image; the best first for each query, ties by column.
        own: [P] its similarity.
        junk: [P] whether the protocol hides it.
        judged: [q] whether the query's person is known and no distractor.
        positive: [P] whether it is a hit.
    """

    shown: Shown
    similarity: Block
    asking: Integers
    columns: Integers
    own: NDArray[np.float32]
    junk: NDArray[np.bool_]
    judged: NDArray[np.bool_]
    positive: NDArray[np.bool_]


def look(
    block: Block, rows: Integers, query: FeatureSet, gallery: FeatureSet, protocol: Protocol, shown: Shown
) -> View:
    """The view of some queries.

    Args:
        block: [q, G] their similarities with the whole gallery, or [q, g] with what is shown; it is not changed.
        rows: [q] their rows in `query`.
        query, gallery: labels.
        protocol: the rules.
        shown: which part of the gallery they see.
    """
    similarity = block if len(shown.rows) == block.shape[1] else block[:, shown.rows]
    for camera, unseen in protocol.blind.items():
        blind = (query.camera[rows] == camera)[:, None] & np.isin(gallery.camera[shown.rows], unseen)
        similarity = np.where(blind, np.float32(-np.inf), similarity)
    asking, columns = shown.own_pairs(query.person[rows])
    own = similarity[asking, columns]
    best_first = np.lexsort((-own, asking))
    asking, columns, own = asking[best_first], columns[best_first], own[best_first]
    junk = protocol.hides(query, gallery, rows[asking], shown.rows[columns])
    judged = (query.person[rows] != -1) & (query.person[rows] != protocol.distractor)
    return View(shown, similarity, asking, columns, own, junk, judged, ~junk & judged[asking])


def ranks_of_positives(view: View) -> Integers:
    """[P] the rank from 1 of every positive among what its query sees, in the order of the view's positives."""
    places = np.flatnonzero(view.positive)
    asking, columns = view.asking[places], view.columns[places]
    ranks = np.empty(len(places), dtype=np.int64)
    queries, starts = np.unique(asking, return_index=True)
    for row, start, stop in zip(queries, starts, [*starts[1:], len(places)], strict=True):
        ranks[start:stop] = ranks_in_row(view.similarity[row], columns[start:stop])
    # Junk was counted with the rest: take off what of it lies before each positive.
    before = np.concatenate([[0], np.cumsum(view.junk)])
    return np.asarray(ranks - before[places] + before[np.searchsorted(view.asking, asking)])


def ranks_in_row(similarity: NDArray[np.float32], columns: Integers) -> Integers:
    """The rank of each column: 1 + the number of those that are closer, ties by column.

    From the worst on they are counted one by one, until what is as close is little, or would be counted too often:
    that is sorted.

    Args:
        similarity: [g] of one query.
        columns: [P] best first, ties by column.

    Returns:
        [P] from 1, increasing.
    """
    ranks = np.empty(len(columns), dtype=np.int64)
    for place in range(len(columns) - 1, -1, -1):
        column = columns[place]
        own = similarity[column]
        as_close = similarity >= own
        count = np.count_nonzero(as_close)
        if place > _MANY or count * _FEW <= len(similarity):
            ranks[: place + 1] = _ranks_among(similarity[as_close], similarity, columns[: place + 1])
            break
        ranks[place] = count - np.count_nonzero(similarity[column + 1 :] == own)
    return ranks


def _ranks_among(rivals: NDArray[np.float32], similarity: NDArray[np.float32], columns: Integers) -> Integers:
    """The same for columns that are all among the rivals, as is everything that is closer; sorts the rivals."""
    own = similarity[columns]
    rivals.sort()
    behind = rivals.searchsorted(own, side="right")
    ranks = len(rivals) - behind + 1
    tied = behind - rivals.searchsorted(own, side="left") > 1
    for place in tied.nonzero()[0]:
        ranks[place] += np.count_nonzero(similarity[: columns[place]] == own[place])
    return np.asarray(ranks)


def persons_before(view: View, asking: Integers, firsts: Integers) -> Integers:
    """How many other persons have an image that is closer than a query's best positive.

    Args:
        view: what the queries see.
        asking: [A] queries that have a positive.
        firsts: [A] the column of the best one.

    Returns:
        [A] numbers of persons.
    """
    closer = _closer_persons(view.similarity[asking], firsts, view.shown)
    return np.asarray(np.count_nonzero(closer, axis=1))


def chance_of_rank1(view: View, row: int, positives: Integers) -> float:
    """The probability of a hit at rank 1 if one image of each person were drawn, without any draw.

    The mean over the positives that may be drawn of the product, over the other persons, of the share of their images
    that are farther.

    Args:
        view: what the queries see.
        row: one of them.
        positives: [P] its positives' columns.
    """
    similarity = np.broadcast_to(view.similarity[row], (len(positives), len(view.shown.rows)))
    farther = 1 - _closer_persons(similarity, positives, view.shown) / view.shown.sizes
    return float(farther.prod(axis=1).mean())


def _closer_persons(similarity: Block, columns: Integers, shown: Shown) -> Integers:
    """How many images of each other person are closer than one image of each row.

    Args:
        similarity: [A, g].
        columns: [A] the image of each row.
        shown: the gallery.

    Returns:
        [A, I], 0 for the image's own person.
    """
    rows = np.arange(len(columns))
    own = similarity[rows, columns][:, None]
    grouped = similarity[:, shown.by_person]
    closer = (grouped > own) | ((grouped == own) & (shown.by_person < columns[:, None]))
    persons = np.add.reduceat(closer, shown.starts, axis=1, dtype=np.int64)
    persons[rows, shown.identity[columns]] = 0
    return persons
