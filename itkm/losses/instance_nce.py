"""The instance-level heterogeneous loss L_ihm over the common neighbours of image and text space [field: SDCL]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax


def instance_nce(
    queries: Tensor, memory: Tensor, positives: Tensor, *, temperature: float, left_out: Tensor | None = None
) -> Tensor:
    """L = - mean over P_i of log softmax(q_i . m_j / tau), the mean over the queries with a positive.

    Args:
        queries: unit vectors [B, D].
        memory: unit vectors of all instances of the other group [M, D].
        positives: P_i as a mask, bool [B, M].
        temperature: tau.
        left_out: instances that are no negatives either, bool [B, M]; what is a positive stays one.

    Returns:
        a scalar; zero, with a graph, if no query has a positive.
    """
    weights = positives.to(queries.dtype)
    logits = queries @ memory.T / temperature
    if left_out is not None:
        logits = logits.masked_fill(left_out & ~positives, torch.finfo(logits.dtype).min)
    totals = (log_softmax(logits, dim=1) * weights).sum(dim=1)
    return -(totals / weights.sum(dim=1).clamp(min=1)).sum() / positives.any(dim=1).sum().clamp(min=1)
