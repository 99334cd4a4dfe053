"""ClusterNCE: an instance against a memory of cluster means, its own group's (L_hom) or the other group's (L_chm)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy


def cluster_nce(queries: Tensor, memory: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """L = - log exp(q . phi_y / tau) / sum_k exp(q . phi_k / tau), the mean over the queries that have a label [paper].

    Args:
        queries: unit vectors [B, D].
        memory: unit vectors [C, D].
        labels: row of the memory that is each query's positive, int64 [B]; -1 = none, the query is left out.
        temperature: tau.

    Returns:
        a scalar; zero, with a graph, if no query has a label.
    """
    if not len(memory):
        return queries.sum() * 0.0
    total = cross_entropy(queries @ memory.T / temperature, labels, ignore_index=-1, reduction="sum")
    return total / (labels >= 0).sum().clamp(min=1)
