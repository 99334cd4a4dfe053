"""P x K batches over every (scenario, group) [paper: one contrastive loss per group; field: PGM, SDCL]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def identity_batches(
    labels: Integers, *, identities: int, instances: int, steps: int, rng: np.random.Generator
) -> Integers:
    """Indices [steps, P * K] of one group: P pseudo-identities a step, K instances of each, no outlier.

    Clusters come in a shuffled order that is begun anew when it is used up, so that every cluster is seen equally
    often. A cluster with fewer than K members repeats some: a row is always P x K, or the clusters' number x K where
    there are fewer than P.
    """
    clusters = int(labels.max()) + 1 if len(labels) else 0
    members = [np.flatnonzero(labels == cluster) for cluster in range(clusters)]
    taken = min(identities, clusters)
    batches = np.empty((steps, taken * instances), dtype=np.int64)
    queue: list[int] = []
    for step in range(steps):
        chosen: list[int] = []
        while len(chosen) < taken:
            if not queue:  # drawn from its end, so that what this step already has comes last
                queue = sorted(rng.permutation(clusters).tolist(), key=lambda cluster: cluster not in chosen)
            chosen.append(queue.pop())
        for place, cluster in enumerate(chosen):
            batches[step, place * instances : (place + 1) * instances] = _draw(members[cluster], instances, rng)
    return batches


def _draw(members: Integers, count: int, rng: np.random.Generator) -> Integers:
    """`count` members without repetition as long as there are enough, then as evenly as possible."""
    rounds = [rng.permutation(members) for _ in range(-(-count // len(members)))]
    return np.concatenate(rounds)[:count]


def epoch_steps(counts: list[int], *, batch: int) -> int:
    """Steps after which the largest group has been seen once."""
    return max(1, max(counts, default=0) // max(batch, 1))
