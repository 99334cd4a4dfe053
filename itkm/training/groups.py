"""The homogeneous groups (s, g) that training runs over, and their joint batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from itkm.data.training import TrainingImages
from itkm.training.ahead import ahead
from itkm.training.augment import augment, lower_resolution, mix_channels
from itkm.training.batches import epoch_steps, identity_batches
from itkm.training.extraction import to_pixels
from itkm.training.runtime import numpy_generator, torch_generator

Integers = NDArray[np.int64]
Augmentation = Literal["channels", "resolution"]

AUGMENTATIONS: dict[Augmentation, Callable[[Tensor, torch.Generator], Tensor]] = {
    "channels": mix_channels,
    "resolution": lower_resolution,
}


@dataclass(frozen=True, eq=False)
class Group:
    """One homogeneous group.

    Attributes:
        name: `<scenario>/<group>`, as in files and messages.
        scenario, group: their numbers.
        rows: places of its images among the scenario's training images, int64 [N].
        images: uint8 [N, 3, H, W].
        camera: int64 [N].
        other: place of the scenario's other group in the list of all groups.
    """

    name: str
    scenario: int
    group: int
    rows: Integers
    images: NDArray[np.uint8]
    camera: Integers
    other: int


def split_groups(scenarios: Sequence[TrainingImages]) -> list[Group]:
    """Two groups for each scenario, in the scenarios' order: group g of scenario s stands at 2 s + g."""
    groups: list[Group] = []
    for number, training in enumerate(scenarios):
        for group in (0, 1):
            rows = np.flatnonzero(training.group == group)
            groups.append(
                Group(
                    name=f"{training.scenario}/{training.group_names[group]}",
                    scenario=number,
                    group=group,
                    rows=rows,
                    images=training.images[rows],
                    camera=training.camera[rows],
                    other=2 * number + 1 - group,
                )
            )
    return groups


def require_sizes(groups: Sequence[Group], labels: Sequence[Integers], memories: Sequence[Tensor]) -> None:
    """Refuses labels [N] and cluster memories [C, D] that are not of these groups' images.

    Raises:
        ValueError: the numbers differ; the first group is named.
    """
    for group, own, memory in zip(groups, labels, memories, strict=True):
        if len(own) != len(group.rows) or len(memory) != int(own.max(initial=-1)) + 1:
            raise ValueError(
                f"{group.name} has {len(group.rows)} images; it holds {len(own)} labels and {len(memory)} memories"
            )


@dataclass(frozen=True, eq=False)
class Step:
    """One joint batch over all groups.

    Attributes:
        pixels: augmented RGB in [0, 1], [B, 3, H, W].
        scenario, group: int64 [B] on the CPU.
        parts: for each group its images' places in the group, int64 [B_g] on the CPU; their rows in the batch follow
            each other.
    """

    pixels: Tensor
    scenario: Tensor
    group: Tensor
    parts: list[Tensor]

    def split(self, values: Tensor) -> list[Tensor]:
        """Rows of the batch [B, ...] given back to their groups."""
        return list(values.split([len(part) for part in self.parts]))


def joint_batches(
    groups: Sequence[Group],
    labels: Sequence[Integers],
    *,
    identities: int,
    instances: int,
    augmentation: Mapping[str, Augmentation],
    device: torch.device,
    seed: tuple[int, ...],
    done: int = 0,
) -> tuple[int, Iterator[Step]]:
    """The number of steps of an epoch and its steps after the first `done`: P x K images of every group [paper].

    `seed` alone says what is drawn, and with a step's number how that is augmented.
    """
    rng = numpy_generator(*seed)
    steps = epoch_steps([int((own >= 0).sum()) for own in labels], batch=identities * instances)
    batches = [
        identity_batches(own, identities=identities, instances=instances, steps=steps, rng=rng) for own in labels
    ]
    extra = [augmentation.get(group.name.split("/")[0]) for group in groups]

    def images(group: Group, rows: Integers, kind: Augmentation | None, generator: torch.Generator) -> Tensor:
        pixels = to_pixels(group.images[rows], device)
        if not len(rows):  # a group without clusters sits the epoch out
            return pixels
        pixels = augment(pixels, generator=generator)
        return AUGMENTATIONS[kind](pixels, generator) if kind else pixels

    def iterate() -> Iterator[Step]:
        for step in range(done, steps):
            parts, generator = [batch[step] for batch in batches], torch_generator(*seed, step)
            pixels = [images(*arguments, generator) for arguments in zip(groups, parts, extra, strict=True)]
            sizes = torch.tensor([len(part) for part in parts])
            scenario = torch.tensor([group.scenario for group in groups]).repeat_interleave(sizes)
            number = torch.tensor([group.group for group in groups]).repeat_interleave(sizes)
            stacked = torch.cat(pixels).contiguous(memory_format=torch.channels_last)
            yield Step(stacked, scenario, number, [torch.from_numpy(part) for part in parts])

    return steps, ahead(iterate(), device)
