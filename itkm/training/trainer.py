"""What a training stage carries from step to step: network, moving average, optimiser, schedule, random numbers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from itkm.config import BatchSettings
from itkm.errors import InputError
from itkm.models.encoder import Encoder
from itkm.models.towers import TransformerTrunk, Trunk
from itkm.training.distributed import alone, gather, joint_statistics, share, sum_gradients
from itkm.training.groups import Group, Integers, Step, joint_batches
from itkm.training.optimisation import MovingAverage, learning_rate
from itkm.training.runtime import mixed_precision

CLIP_NORM = 5.0  # guards the first steps, when the memories are far from the features

logger = logging.getLogger(__name__)


class Trainer:
    """Adam with warm-up and cosine on the encoder, and the moving average that extracts and is kept."""

    def __init__(self, encoder: Encoder, settings: BatchSettings, *, device: torch.device) -> None:
        self.encoder = encoder.to(device)
        self.average = MovingAverage(self.encoder, decay=settings.averaging)
        for network in (self.encoder, self.average.network):
            _prepare_trunk(network.trunk, settings)
        self.settings = settings
        self.device = device
        self._parameters = [p for p in self.encoder.parameters() if p.requires_grad]
        self._optimiser = torch.optim.Adam(
            self._parameters,
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=device.type == "cuda",
        )

    def batches(
        self, groups: Sequence[Group], labels: Sequence[Integers], *, seed: tuple[int, ...], done: int = 0
    ) -> tuple[int, Iterator[Step]]:
        """The number of steps of an epoch and its joint batches after the first `done`, from `seed` alone."""
        return joint_batches(
            groups,
            labels,
            identities=self.settings.identities,
            instances=self.settings.instances,
            augmentation=self.settings.augmentation,
            device=self.device,
            seed=seed,
            done=done,
        )

    def train(self) -> None:
        """Training mode, with the tower's batch statistics frozen if the settings say so."""
        self.encoder.train()
        if self.settings.freeze_statistics:
            for module in (*self.encoder.stems.modules(), *self.encoder.trunk.modules()):  # all but the neck
                if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                    module.eval()

    def encode(self, step: Step) -> tuple[list[Tensor], list[Tensor]]:
        """Unit features [b, D] and unit projections [b, E] of each group's images of a batch, float32."""
        present = None if alone() else self.encoder.branches_of(step.scenario, step.group)
        own = (share(values) for values in (step.pixels, step.scenario, step.group))
        with mixed_precision(self.device), joint_statistics():
            outputs = self.encoder(*own, present=present)
        features, projected = (normalize(gather(output.float(), len(step.group)), dim=1) for output in outputs)
        return step.split(features), step.split(projected)

    def step(self, loss: Tensor, *, epoch: int, step: int, steps: int) -> None:
        """One update at `step` of `steps` of the epoch."""
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("epoch %d, step %d of %d: loss %r", epoch + 1, step + 1, steps, loss.item())
        progress = (epoch + step / steps) / self.settings.epochs
        factor = learning_rate(progress, warmup=self.settings.warmup)
        for group in self._optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * factor
        self._optimiser.zero_grad()
        loss.backward()
        sum_gradients(self._parameters)
        nn.utils.clip_grad_norm_(self._parameters, CLIP_NORM)
        self._optimiser.step()
        self.average.update(self.encoder)

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs."""
        return {
            "encoder": self.encoder.state_dict(),
            "average": self.average.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "random": self._random_states(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a state.

        Raises:
            KeyError, ValueError, RuntimeError: it is of another network.
        """
        self.encoder.load_state_dict(state["encoder"])
        self.average.network.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        for parameter, own in self._optimiser.state.items():
            if own["exp_avg"].shape != parameter.shape:
                raise ValueError(f"a moment has shape {list(own['exp_avg'].shape)}, its weight {list(parameter.shape)}")
        cpu, *devices = state["random"]
        torch.set_rng_state(cpu)
        for own in devices:
            torch.cuda.set_rng_state(own, self.device)

    def _random_states(self) -> list[Tensor]:
        """Of torch's own generators: nothing here draws from them, but a tower with dropout would."""
        devices = [torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else []
        return [torch.get_rng_state(), *devices]


def _prepare_trunk(trunk: Trunk, settings: BatchSettings) -> None:
    """Turns gradient checkpointing and compilation on.

    The trunk is compiled as a whole: by blocks it takes a third of the time, but then a GPU waits for each of them.
    """
    if not (settings.gradient_checkpointing or settings.compile):
        return
    if not isinstance(trunk, TransformerTrunk):
        raise InputError(
            "gradient_checkpointing and compile work on a transformer's blocks, and the tower of model.name has none. "
            "Set both to false in params.yaml, or choose a vit."
        )
    trunk.gradient_checkpointing = settings.gradient_checkpointing
    if settings.compile:
        trunk.compile()
