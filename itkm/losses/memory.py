"""Memories of unit vectors: one per cluster, or one per instance [field: Cluster-Contrast, SDCL]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from itkm.devices import send


def cluster_means(features: Tensor, labels: Tensor) -> Tensor:
    """L2-normalised mean of the members of each cluster.

    Args:
        features: unit vectors [N, D].
        labels: pseudo-labels int64 [N], dense from 0; -1 (outliers) are left out.

    Returns:
        [C, D], where C is the number of clusters.
    """
    kept = labels >= 0
    count = int(labels.max()) + 1 if len(labels) else 0
    sums = features.new_zeros(count, features.shape[1])
    sums.index_add_(0, labels[kept], features[kept])
    return normalize(sums, dim=1)


def update_memory(memory: Tensor, rows: Tensor, queries: Tensor, *, momentum: float) -> None:
    """phi_y <- m phi_y + (1 - m) q, renormalised, for each query in turn; in place.

    The queries of one cluster follow each other in batch order, as in a loop over the batch; different clusters are
    updated together, so that there are as many steps as a cluster has queries at most, with identical bits.

    Args:
        memory: unit vectors [C, D].
        rows: the row that each query updates, int64 [B] on the CPU.
        queries: unit vectors [B, D]; gradients are not followed.
        momentum: m, the share of the old vector that is kept.
    """
    if not len(rows):
        return
    with torch.no_grad():
        order = rows.argsort(stable=True)
        ordered = rows[order]
        occurrence = torch.arange(len(rows)) - torch.searchsorted(ordered, ordered)
        turns = occurrence.argsort(stable=True)  # every row's first query, then its second ...
        sizes = occurrence.bincount().tolist()
        plan = send(torch.stack([ordered[turns], order[turns]]), memory.device)
        for row, query in (part.unbind() for part in plan.split(sizes, dim=1)):
            mixed = momentum * memory[row] + (1 - momentum) * queries[query].to(memory.dtype)
            memory[row] = normalize(mixed, dim=1)
