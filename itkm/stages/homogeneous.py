"""Stage I, unsupervised homogeneous learning [paper]: every epoch cluster each group on its own, then learn from that.

L_hom is ClusterNCE, summed over all (scenario, group); batches hold P x K images of every group.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from itkm.config import Settings
from itkm.data.training import TrainingImages
from itkm.devices import send
from itkm.files import write_csv, write_npz
from itkm.losses.memory import cluster_means, update_memory
from itkm.losses.nce import cluster_nce
from itkm.models.store import build_encoder, make_card, save_model
from itkm.progress import progress
from itkm.stages.inputs import load_groups, open_checkpoint
from itkm.stages.layout import Layout
from itkm.training.checkpoint import Checkpoint
from itkm.training.distributed import is_first, once, together
from itkm.training.groups import Group, Integers, require_sizes
from itkm.training.record import Record
from itkm.training.rounds import describe, extract_groups, label_groups
from itkm.training.runtime import resolve_device
from itkm.training.trainer import Trainer

STAGE = 1  # seeds of this stage differ from those of the others
SECTIONS = ("scenarios", "seed", "model", "labelling", "homogeneous")

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Round:
    """An epoch under way.

    Attributes:
        labels: newest pseudo-labels int64 [N] of every group.
        silhouettes: of these labels.
        memories: cluster memory [C, D] of every group.
        total: sum of L_hom over the finished steps.
        steps: their number.
    """

    labels: list[Integers]
    silhouettes: list[float]
    memories: list[Tensor]
    total: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    steps: int = 0

    def state(self) -> dict[str, Any]:
        """Everything that `restored` needs."""
        labels = [torch.from_numpy(own) for own in self.labels]
        return {**vars(self), "labels": labels}

    @classmethod
    def restored(cls, state: dict[str, Any], groups: list[Group], *, device: torch.device) -> Round:
        """The round whose state this is."""
        labels = [own.numpy() for own in state["labels"]]
        memories = [own.to(device) for own in state["memories"]]
        require_sizes(groups, labels, memories)
        return cls(**{**state, "labels": labels, "memories": memories})


def run(settings: Settings, layout: Layout) -> None:
    """Trains the encoder on pseudo-labels within each group and writes `artifacts/homogeneous`."""
    device = resolve_device(settings.device)
    with together(device):
        torch.manual_seed(settings.seed)
        scenarios, groups = load_groups(settings, layout)
        encoder, clip = build_encoder(settings.model, settings.scenarios)
        trainer = Trainer(encoder, settings.homogeneous, device=device)
        checkpoint = open_checkpoint("homogeneous", settings, SECTIONS, layout, [])
        record = train(trainer, groups, settings, checkpoint)
        if is_first():
            card = make_card(settings.model, {training.scenario: training.group_names for training in scenarios})
            save_model(trainer.average.network, clip, card, layout.homogeneous)
            save_labels(record, groups, scenarios, layout)
            write_csv(layout.homogeneous / "history.csv", record.history)
            checkpoint.remove()


def train(trainer: Trainer, groups: list[Group], settings: Settings, checkpoint: Checkpoint) -> Record:
    """All epochs, from where the checkpoint stands."""
    record, current = Record(), None
    if state := once(checkpoint.load):
        with checkpoint.restoring():
            trainer.restore(state["trainer"])
            record = Record.restored(state["record"])
            current = Round.restored(state["round"], groups, device=trainer.device)
    for epoch in range(len(record.labels), settings.homogeneous.epochs):
        begun = time.perf_counter()
        current = current or open_round(trainer, groups, settings, epoch)
        for step in train_steps(trainer, groups, current, settings, epoch):
            if checkpoint.due():
                parts = {"trainer": trainer.state(), "record": record.state(), "round": current.state()}
                checkpoint.save({"epoch": epoch, "step": step, **parts})
        loss = float(current.total / current.steps)
        checkpoint.require_finite(loss, epoch=epoch)
        record.add(groups, current.labels, [{"silhouette": own, "loss": loss} for own in current.silhouettes])
        logger.info(
            "homogeneous %d/%d  loss %.3f  %s  %.0f s",
            *(epoch + 1, settings.homogeneous.epochs, loss, describe(groups, current.labels)),
            time.perf_counter() - begun,
        )
        current = None
    return record


def open_round(trainer: Trainer, groups: list[Group], settings: Settings, epoch: int) -> Round:
    """Extract, label, build the memories."""
    options = settings.homogeneous
    features, _ = extract_groups(trainer.average.network, groups)
    labels, silhouettes = once(
        lambda: label_groups(
            features,
            groups,
            settings.labelling,
            camera_centring=options.camera_centring,
            prior_weight=options.appearance_prior * (1 - epoch / options.epochs),  # the prior fades out
        )
    )
    memories = [
        cluster_means(own, torch.from_numpy(label)).to(trainer.device)
        for own, label in zip(features, labels, strict=True)
    ]
    return Round(labels, silhouettes, memories)


def train_steps(trainer: Trainer, groups: list[Group], current: Round, settings: Settings, epoch: int) -> Iterator[int]:
    """Once over the images; yields the number of finished steps after each."""
    options = settings.homogeneous
    seed = (settings.seed, STAGE, epoch)
    steps, batches = trainer.batches(groups, current.labels, seed=seed, done=current.steps)
    targets = [torch.from_numpy(own) for own in current.labels]
    trainer.train()
    for step in progress(batches, total=steps - current.steps, title=f"homogeneous {epoch + 1}"):
        queries, _ = trainer.encode(step)
        wanted = [target[part] for target, part in zip(targets, step.parts, strict=True)]
        loss = torch.stack(
            [
                cluster_nce(query, memory, send(want, trainer.device), temperature=options.temperature)
                for query, memory, want in zip(queries, current.memories, wanted, strict=True)
            ]
        ).sum()
        trainer.step(loss, epoch=epoch, step=current.steps, steps=steps)
        for memory, want, query in zip(current.memories, wanted, queries, strict=True):
            update_memory(memory, want, query, momentum=options.memory_momentum)
        current.total = current.total.to(trainer.device) + loss.detach()
        current.steps += 1
        yield current.steps


def save_labels(record: Record, groups: list[Group], scenarios: list[TrainingImages], layout: Layout) -> None:
    """Writes the labels of every epoch of each scenario, for those who ask how they came to be."""
    for number, training in enumerate(scenarios):
        write_npz(
            layout.homogeneous / f"{training.scenario}.npz",
            {
                "epoch_labels": record.epoch_labels(groups, number),
                "group": training.group,
                "path": training.paths,
            },
        )
