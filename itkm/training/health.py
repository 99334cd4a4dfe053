"""How well training without labels goes, told without any label: for users who have none, and as an early warning.

None of these numbers reads an identity, and training does not use them: they are written down, and looked at. [ours]
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from itkm.labelling.units import to_units

Labels = NDArray[np.int64]
Partners = NDArray[np.int64]
Floats = NDArray[np.float32]
Row = Mapping[str, object]

# Guesses: on the shipped data all epochs stay far from them (stability from .65, outliers to .24, silhouette from .40).
LEAST_STABILITY = 0.3
MOST_OUTLIERS = 0.6
LEAST_SILHOUETTE = 0.0
MERGED = 0.5  # share of the largest number of clusters so far

logger = logging.getLogger(__name__)


def stability(previous: Labels | None, current: Labels) -> float:
    """How much of the clustering an epoch leaves as it was: adjusted Rand index, 1 = the same, 0 = by chance.

    Args:
        previous: [N] pseudo-labels of the epoch before, -1 = outlier; None in the first epoch.
        current: [N] newest pseudo-labels of the same images.

    Returns:
        The index over the images that are in a cluster both times; NaN in the first epoch and for fewer than two.
    """
    if previous is None:
        return math.nan
    both = (previous >= 0) & (current >= 0)
    if np.count_nonzero(both) < 2:
        return math.nan
    pairs = np.stack([previous[both], current[both]])
    before, after, common = (_pairs_together(own) for own in (pairs[0], pairs[1], pairs))
    expected = before * after / math.comb(pairs.shape[1], 2)
    largest = (before + after) / 2
    return (common - expected) / (largest - expected) if largest != expected else 1.0  # both trivial, and the same


def _pairs_together(labels: Labels) -> int:
    """How many pairs of images have one label; or one pair of labels, where [2, N] are given."""
    counts = np.unique(labels, axis=-1, return_counts=True)[1]
    return sum(math.comb(int(count), 2) for count in counts)


def silhouette(graph: csr_array, labels: Labels) -> float:
    """Mean silhouette of the clustered images on the sparse Jaccard graph: 1 = apart, 0 = overlapping, -1 = wrong.

    A pair that is not in the graph is farther than eps and counts as Jaccard's largest distance, 1; so clusters that
    share no edge are fully apart, whatever lies between them. An image alone in its cluster has silhouette 0
    (Rousseeuw 1987), and so has one without any distance to its own and to another cluster.

    Costs one sparse product of the graph with the [N, C] memberships: no more than the number of the graph's edges.

    Args:
        graph: [N, N] symmetric Jaccard *similarity* as `jaccard_graph` gives it, no diagonal.
        labels: [N] pseudo-labels of the same images, dense from 0, -1 = outlier (left out, also as a neighbour).

    Returns:
        The mean; NaN where there are fewer than two clusters.
    """
    sizes = np.bincount(labels[labels >= 0])
    if len(sizes) < 2:
        return math.nan
    members = np.flatnonzero(labels >= 0)
    own = labels[members]
    ones = np.ones(len(members))
    membership = csr_array((ones, (members, own)), shape=(len(labels), len(sizes)))
    near = csr_array(graph[members] @ membership).tocoo()  # [members, C] sums of similarity
    row, cluster = near.coords
    inside = cluster == own[row]
    cohesion = np.bincount(row[inside], near.data[inside], len(members)) / np.maximum(sizes[own] - 1, 1)
    rival = np.zeros(len(members))
    np.maximum.at(rival, row[~inside], near.data[~inside] / sizes[cluster[~inside]])
    within, beyond = 1 - cohesion, 1 - rival
    larger = np.maximum(within, beyond)
    defined = (sizes[own] > 1) & (larger > 0)
    values = np.divide(beyond - within, larger, out=np.zeros(len(members)), where=defined)
    return float(values.mean())


def best_partners(similarity: Floats) -> tuple[Partners, Partners]:
    """The most similar cluster of the other group, for each of the first [A] and of the second [B].

    Args:
        similarity: [A, B], any shape; where one side is empty the other has no partner, -1.
    """
    if similarity.size == 0:
        return np.full(similarity.shape[0], -1, dtype=np.int64), np.full(similarity.shape[1], -1, dtype=np.int64)
    return similarity.argmax(axis=1), similarity.argmax(axis=0)


def cycle_consistency(partner_a: Partners, partner_b: Partners) -> float:
    """Share of the clusters that come back to themselves when one follows partners to the other group and back.

    Args:
        partner_a: [A] partner of each cluster of the first group, -1 = none (which does not come back).
        partner_b: [B] partner of each cluster of the second group.

    Returns:
        The share of the first group's clusters; NaN where it has none.
    """
    if not len(partner_a):
        return math.nan
    paired = np.flatnonzero(partner_a >= 0)
    return float(np.count_nonzero(partner_b[partner_a[paired]] == paired) / len(partner_a))


def agreement(image_a: Floats, image_b: Floats, text_a: Floats, text_b: Floats) -> float:
    """Share of the clusters whose most similar cluster of the other group is the same by image and by text.

    Args:
        image_a: [A, D] mean features of the first group's clusters, any norm.
        image_b: [B, D] those of the second.
        text_a: [A, E] texts of the first group's clusters, any norm.
        text_b: [B, E] those of the second.

    Returns:
        The share of the first group's clusters; NaN where a group has none.
    """
    if not len(image_a) or not len(image_b):
        return math.nan
    # The norm of the asking row does not move its best partner.
    by_image, by_text = (
        (asking @ to_units(shown).T).argmax(axis=1) for asking, shown in ((image_a, image_b), (text_a, text_b))
    )
    return float((by_image == by_text).mean())


def warn_of_collapse(history: Sequence[Row]) -> None:
    """Logs a warning for each sign of collapse in the newest epoch: what was seen, and what to change in params.yaml.

    Args:
        history: all rows of the stage so far, one an epoch and group, the newest last; with `epoch`, `scenario`,
            `group`, `clusters`, and where they were measured `outliers`, `stability`, `silhouette`.
    """
    for sign in signs_of_collapse(history):
        logger.warning("%s", sign)


def signs_of_collapse(history: Sequence[Row]) -> list[str]:
    """The warnings of `warn_of_collapse`, in the order of the groups."""
    newest = [row for row in history if row["epoch"] == history[-1]["epoch"]]
    return [f"{row['scenario']}/{row['group']}: {sign}" for row in newest for sign in _signs(row, history)]


def _signs(row: Row, history: Sequence[Row]) -> Iterator[str]:
    """What is wrong with one group in one epoch."""
    outliers, steady, apart = (_number(row, name) for name in ("outliers", "stability", "silhouette"))
    clusters, most = _number(row, "clusters"), max(_number(own, "clusters") for own in history if _same_group(own, row))
    if clusters < MERGED * most:
        yield (
            f"clusters fell to {clusters:.0f} from {most:.0f}: persons merge. Lower labelling.eps or labelling.k1, or "
            "the stage's learning_rate."
        )
    if outliers > MOST_OUTLIERS:
        yield (
            f"{100 * outliers:.0f} % of the images are in no cluster and teach nothing. Raise labelling.eps or lower "
            "labelling.min_samples."
        )
    if steady < LEAST_STABILITY:
        yield (
            f"clusters change from epoch to epoch (stability {steady:.2f}): labels are noise to the next epoch. Lower "
            "the stage's learning_rate, raise its averaging, or turn its camera_centring on."
        )
    if apart < LEAST_SILHOUETTE:
        yield f"clusters overlap (silhouette {apart:.2f}): persons merge. Lower labelling.eps or labelling.k1."


def _same_group(own: Row, other: Row) -> bool:
    return (own["scenario"], own["group"]) == (other["scenario"], other["group"])


def _number(row: Row, name: str) -> float:
    """A value of a row; NaN, which is no sign of anything, where it was not measured."""
    return float(str(row.get(name, "nan")))
