"""Named protocols: which gallery images a query may not see, and how CMC counts.

The same features score differently under each, so every number carries the name of its protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from itkm.errors import InputError
from itkm.evaluation.features import FeatureSet

CMC_LENGTH = 20
"""CMC is kept for ranks 1 to 20, the longest that the field prints."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """One query against its gallery: all that a CMC rule may look at.

    Attributes:
        similarity: [G] float32; -inf where the image is junk for this query.
        person: [G] identity of the gallery images.
        positives: [P] gallery rows of the query's identity that are not junk, best first.
        ranks: [P] rank of each from 1, increasing.
    """

    similarity: NDArray[np.float32]
    person: NDArray[np.int64]
    positives: NDArray[np.int64]
    ranks: NDArray[np.int64]


JunkRule = Callable[[FeatureSet, FeatureSet], NDArray[np.bool_]]
"""(q queries, G gallery images) to [q, G], True where the query does not see the image. Called a block at a time."""

CmcRule = Callable[[Ranking], NDArray[np.float64]]
"""One ranked query to [CMC_LENGTH], the probability of a hit within each rank."""


def same_identity_and_camera(queries: FeatureSet, gallery: FeatureSet) -> NDArray[np.bool_]:
    """[q, G] the Market-1501 rule: an image of the same person by the same camera proves nothing [field]."""
    same_person = queries.person[:, None] == gallery.person
    return np.asarray(same_person & (queries.camera[:, None] == gallery.camera))


def cmc_of_images(ranking: Ranking) -> NDArray[np.float64]:
    """[CMC_LENGTH] 1 from the rank of the best positive on; every gallery image counts."""
    return np.asarray(np.arange(1, CMC_LENGTH + 1) >= ranking.ranks[0], dtype=np.float64)


@dataclass(frozen=True)
class Protocol:
    """How query and gallery are judged.

    Attributes:
        name: what users type and what stands beside every number.
        junk: which gallery images a query does not see.
        cmc: how one ranked query enters the CMC.
        distractor: the identity that is in the gallery but never a positive; None where there is no such number.
    """

    name: str
    junk: JunkRule
    cmc: CmcRule
    distractor: int | None = None


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(name="cross-group", junk=same_identity_and_camera, cmc=cmc_of_images),
        Protocol(name="market1501", junk=same_identity_and_camera, cmc=cmc_of_images, distractor=0),
    )
}
"""By name. In all of them an image of an unknown person (-1) is dropped from the gallery."""


def protocol_named(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        InputError: there is none.
    """
    if name not in PROTOCOLS:
        raise InputError(f"protocol {name!r} is not known. Choose one of: {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]
