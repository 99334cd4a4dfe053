"""Verification, "are these two the same person?": the share of true pairs accepted at a small share of false ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from itkm.evaluation.ranks import Integers, Shown, View

Floats = NDArray[np.float32]

ONE_IN = (100, 1_000, 10_000)
"""One false pair in so many is accepted: FPR 1e-2, 1e-3, 1e-4."""


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and what it does. A pair is accepted where its similarity is at least the threshold.

    Attributes:
        fpr: the largest share of false pairs (two persons) that may be accepted.
        tpr: the share of true pairs (one person) that is accepted; None where there is no true or no false pair.
        threshold: the smallest similarity that keeps to `fpr`; None where only accepting nothing does.
    """

    fpr: float
    tpr: float | None
    threshold: float | None


class PairTally:
    """Pairs as they come, view by view; exact, and keeps only the closest false pairs.

    As many are kept as the largest FPR can need, and at most the double before they are cut down again.

    Args:
        shown: the gallery.
        queries: at most so many queries will come.
    """

    def __init__(self, shown: Shown, queries: int) -> None:
        self.shown = shown
        self._wanted = queries * len(shown.rows) // ONE_IN[0] + 1
        self._bound = np.float32(-np.inf)
        self._true: list[Floats] = []
        self._false: list[Floats] = []
        self._waiting = 0
        self._count = 0

    def add(self, rows: Integers, view: View) -> None:
        """Counts the pairs of one view that are not junk."""
        false = view.similarity > -np.inf
        false[view.asking, view.columns] = False
        false[~view.judged] = False
        self._count += int(np.count_nonzero(false))
        self._true.append(view.own[view.positive])
        close = view.similarity[false & (view.similarity > self._bound)]
        self._false.append(close)
        self._waiting += len(close)
        if self._waiting > 2 * self._wanted:
            self._cut_down()

    def points(self) -> tuple[OperatingPoint, ...]:
        """The threshold and the TPR at each FPR of `ONE_IN`."""
        true = np.concatenate([*self._true, np.empty(0, np.float32)])
        false = -np.sort(-np.concatenate([*self._false, np.empty(0, np.float32)]))
        return tuple(self._point(one_in, true, false) for one_in in ONE_IN)

    def _point(self, one_in: int, true: Floats, false: Floats) -> OperatingPoint:
        """The point for one false pair in so many; `false` are the closest ones, best first."""
        if not true.size or not self._count:
            return OperatingPoint(1 / one_in, None, None)
        first_refused = false[self._count // one_in]
        accepted = true[true > first_refused]
        above = np.concatenate([accepted, false[false > first_refused]])
        threshold = float(above.min()) if above.size else None
        return OperatingPoint(1 / one_in, len(accepted) / len(true), threshold)

    def _cut_down(self) -> None:
        """Keeps the closest false pairs alone; what is not closer than the last of them will not be needed."""
        kept = np.concatenate(self._false)
        place = len(kept) - self._wanted
        kept.partition(place)
        self._bound = kept[place]
        self._false = [kept[place:].copy()]
        self._waiting = self._wanted
