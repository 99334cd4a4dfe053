"""The optimiser's schedule and the moving average of the weights."""

from __future__ import annotations

import copy
import math
from typing import Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def learning_rate(progress: float, *, warmup: float, floor: float = 0.01) -> float:
    """Factor on the learning rate at `progress` in [0, 1): linear over `warmup`, then a cosine down to `floor`."""
    if progress < warmup:
        return max(floor, progress / warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / max(1e-9, 1 - warmup)))


class MovingAverage(Generic[Network]):
    """An exponential moving average of a network: its parameters are averaged, its buffers are copied."""

    def __init__(self, network: Network, *, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """Moves the average a step towards `network`."""
        averaged, current = ([p.detach() for p in own.parameters()] for own in (self.network, network))
        torch._foreach_lerp_(averaged, current, 1 - self.decay)
        for mine, theirs in zip(self.network.buffers(), network.buffers(), strict=True):
            mine.copy_(theirs)
