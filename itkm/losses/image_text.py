"""Losses between images and texts: prompt learning in both directions, and the text-guided loss of Stage III."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax


def supervised_contrastive(anchors: Tensor, others: Tensor, labels: Tensor, *, undecided: Tensor) -> Tensor:
    """Every other sample of the anchor's label is a positive [field: CLIP-ReID, stage 1].

    Called twice it is L_i2t (anchors are images) and L_t2i (anchors are texts).

    Args:
        anchors, others: [B, E], scaled so that their product is a logit; row i of both has label i.
        labels: int64 [B].
        undecided: bool [B, B], pairs of different labels that may still be one person: neither positive nor negative.
    """
    positive = (labels[:, None] == labels[None, :]).to(anchors.dtype)
    logs = log_softmax((anchors @ others.T).masked_fill(undecided, -torch.inf), dim=1).masked_fill(undecided, 0.0)
    return -((logs * positive).sum(dim=1) / positive.sum(dim=1)).mean()


def text_guided(projected: Tensor, texts: Tensor, labels: Tensor, *, scale: float, smoothing: float) -> Tensor:
    """Label-smoothed cross-entropy of projected images against all current cluster texts [paper; field: CLIP-ReID].

    Args:
        projected: unit vectors [B, E].
        texts: unit vectors of the clusters of the images' scenario and group [C, E].
        labels: int64 [B]; -1 is left out.
        scale: CLIP's own factor from cosine to logit [ours; CLIP-ReID uses unnormalised vectors without one].
        smoothing: of the labels.
    """
    if not len(texts):
        return projected.sum() * 0.0
    logits = scale * projected @ texts.T
    total = cross_entropy(logits, labels, ignore_index=-1, label_smoothing=smoothing, reduction="sum")
    return total / (labels >= 0).sum().clamp(min=1)
