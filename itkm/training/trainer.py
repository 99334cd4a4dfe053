"""The state that a training stage carries from step to step: network, moving average, optimiser, schedule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from itkm.config import BatchSettings
from itkm.models.encoder import Encoder
from itkm.training.groups import Group, Integers, Step, joint_batches
from itkm.training.optimisation import MovingAverage, learning_rate
from itkm.training.runtime import mixed_precision, numpy_generator, torch_generator

CLIP_NORM = 5.0  # guards the first steps, when the memories are far from the features


class Trainer:
    """Adam with warm-up and cosine on the encoder, and the moving average that extracts and is kept."""

    def __init__(self, encoder: Encoder, settings: BatchSettings, *, device: torch.device) -> None:
        self.encoder = encoder.to(device)
        self.average = MovingAverage(self.encoder, decay=settings.averaging)
        self.settings = settings
        self.device = device
        self._parameters = [p for p in self.encoder.parameters() if p.requires_grad]
        self._optimiser = torch.optim.Adam(
            self._parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

    def batches(
        self, groups: Sequence[Group], labels: Sequence[Integers], *, seed: tuple[int, ...]
    ) -> tuple[int, Iterator[Step]]:
        """The number of steps of an epoch and its joint batches, drawn and augmented from `seed` alone."""
        return joint_batches(
            groups,
            labels,
            identities=self.settings.identities,
            instances=self.settings.instances,
            augmentation=self.settings.augmentation,
            device=self.device,
            rng=numpy_generator(*seed),
            generator=torch_generator(*seed),
        )

    def train(self) -> None:
        """Training mode, with the tower's batch statistics frozen if the settings say so."""
        self.encoder.train()
        if self.settings.freeze_statistics:
            for module in self.encoder.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def encode(self, step: Step) -> tuple[list[Tensor], list[Tensor]]:
        """Unit features [b, D] and unit projections [b, E] of each group's images of a batch, float32."""
        with mixed_precision(self.device):
            features, projected = self.encoder(step.pixels, step.scenario, step.group)
        return step.split(normalize(features.float(), dim=1)), step.split(normalize(projected.float(), dim=1))

    def step(self, loss: Tensor, *, epoch: int, step: int, steps: int) -> None:
        """One update at `step` of `steps` of the epoch."""
        progress = (epoch + step / steps) / self.settings.epochs
        factor = learning_rate(progress, warmup=self.settings.warmup)
        for group in self._optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * factor
        self._optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._parameters, CLIP_NORM)
        self._optimiser.step()
        self.average.update(self.encoder)

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs."""
        return {
            "encoder": self.encoder.state_dict(),
            "average": self.average.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a state."""
        self.encoder.load_state_dict(state["encoder"])
        self.average.network.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
