"""What a training stage keeps of its finished epochs: the rows of its history, and what each epoch learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from itkm.training.groups import Group, Integers
from itkm.training.health import stability, warn_of_collapse
from itkm.training.rounds import count_clusters, outlier_share

Epochs = NDArray[np.int32]


@dataclass(eq=False)
class Record:
    """The finished epochs of Stage I or III.

    Attributes:
        history: a row for each epoch and group.
        labels: for each epoch the pseudo-labels int64 [N] of every group.
        partners: for each epoch the partner int64 [C] of every group's clusters; empty in Stage I.
    """

    history: list[dict[str, object]] = field(default_factory=list)
    labels: list[list[Integers]] = field(default_factory=list)
    partners: list[list[Integers]] = field(default_factory=list)

    def add(self, groups: Sequence[Group], labels: list[Integers], values: Sequence[Mapping[str, object]]) -> None:
        """Adds an epoch with further values of every group's row, and warns where it looks like a collapse."""
        before = self.labels[-1] if self.labels else [None] * len(groups)
        for group, own, previous, further in zip(groups, labels, before, values, strict=True):
            scenario, name = group.name.split("/")
            self.history.append(
                {
                    "epoch": len(self.labels) + 1,
                    "scenario": scenario,
                    "group": name,
                    "images": len(own),
                    "clusters": count_clusters(own),
                    "outliers": outlier_share(own),
                    "stability": stability(previous, own),
                    **further,
                }
            )
        self.labels.append(labels)
        warn_of_collapse(self.history)

    def epoch_labels(self, groups: Sequence[Group], scenario: int) -> Epochs:
        """The labels [epochs, N] of a scenario's images, in the order of its training table."""
        own = [(place, group.rows) for place, group in enumerate(groups) if group.scenario == scenario]
        labels = np.full((len(self.labels), sum(len(rows) for _, rows in own)), -1, dtype=np.int32)
        for place, rows in own:
            labels[:, rows] = [epoch[place] for epoch in self.labels]
        return labels

    def epoch_partners(self, place: int) -> Epochs:
        """The partners [epochs, C] of the clusters of the group at `place`; -1 = none, or no such cluster."""
        partners = np.full((len(self.partners), max(len(epoch[place]) for epoch in self.partners)), -1, dtype=np.int32)
        for row, epoch in zip(partners, self.partners, strict=True):
            row[: len(epoch[place])] = epoch[place]
        return partners

    def state(self) -> dict[str, Any]:
        """Everything that `restored` needs."""
        labels, partners = (
            [[torch.from_numpy(own) for own in epoch] for epoch in epochs] for epochs in (self.labels, self.partners)
        )
        return {"history": self.history, "labels": labels, "partners": partners}

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Record:
        """The record whose state this is."""
        epochs = (state["labels"], state["partners"])
        labels, partners = ([[own.numpy() for own in epoch] for epoch in part] for part in epochs)
        return cls(state["history"], labels, partners)
