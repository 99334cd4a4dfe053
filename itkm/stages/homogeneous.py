"""Stage I, unsupervised homogeneous learning [paper]: every epoch cluster each group on its own, then learn from that.

L_hom is ClusterNCE, summed over all (scenario, group); batches hold P x K images of every group.
"""

from __future__ import annotations

import logging
import time

import torch

from itkm.config import Settings
from itkm.files import write_csv
from itkm.losses.memory import cluster_means, update_memory
from itkm.losses.nce import cluster_nce
from itkm.models.store import build_encoder, make_card, save_model
from itkm.stages.inputs import load_scenarios, open_checkpoint
from itkm.stages.layout import Layout
from itkm.training.groups import Group, Integers, split_groups
from itkm.training.rounds import count_clusters, describe, extract_groups, label_groups, move, outlier_share
from itkm.training.runtime import progress, resolve_device
from itkm.training.trainer import Trainer

STAGE = 1  # seeds of this stage differ from those of the others
SECTIONS = ("scenarios", "seed", "model", "labelling", "homogeneous")

logger = logging.getLogger(__name__)


def run(settings: Settings, layout: Layout) -> None:
    """Trains the encoder on pseudo-labels within each group and writes `artifacts/homogeneous`."""
    torch.manual_seed(settings.seed)
    scenarios = load_scenarios(settings, layout)
    groups = split_groups(scenarios)
    encoder, clip = build_encoder(settings.model, settings.scenarios)
    trainer = Trainer(encoder, settings.homogeneous, device=resolve_device(settings.device))
    checkpoint = open_checkpoint("homogeneous", settings, SECTIONS, layout, [])
    history: list[dict[str, object]] = []
    first = 0
    if state := checkpoint.load():
        trainer.restore(state["trainer"])
        history, first = state["history"], state["epoch"]
    for epoch in range(first, settings.homogeneous.epochs):
        history += run_epoch(trainer, groups, settings, epoch)
        checkpoint.save({"epoch": epoch + 1, "trainer": trainer.state(), "history": history})
    card = make_card(settings.model, {training.scenario: training.group_names for training in scenarios})
    save_model(trainer.average.network, clip, card, layout.homogeneous)
    write_csv(layout.homogeneous / "history.csv", history)
    checkpoint.remove()


def run_epoch(trainer: Trainer, groups: list[Group], settings: Settings, epoch: int) -> list[dict[str, object]]:
    """Extract, label, build the memories, train; returns the epoch's rows of the history."""
    begun = time.perf_counter()
    options = settings.homogeneous
    features, _ = extract_groups(trainer.average.network, groups)
    labels = label_groups(
        features,
        groups,
        settings.labelling,
        camera_centring=options.camera_centring,
        prior_weight=options.appearance_prior * (1 - epoch / options.epochs),  # the prior fades out
    )
    memories = [
        cluster_means(own, torch.from_numpy(label).to(own.device))
        for own, label in zip(move(features, trainer.device), labels, strict=True)
    ]
    loss = train_epoch(trainer, groups, labels, memories, settings, epoch)
    logger.info(
        "homogeneous %d/%d  loss %.3f  %s  %.0f s",
        *(epoch + 1, options.epochs, loss, describe(groups, labels), time.perf_counter() - begun),
    )
    return [
        {
            "epoch": epoch + 1,
            "scenario": settings.scenarios[group.scenario],
            "group": group.name.split("/")[1],
            "images": len(own),
            "clusters": count_clusters(own),
            "outliers": outlier_share(own),
            "loss": loss,
        }
        for group, own in zip(groups, labels, strict=True)
    ]


def train_epoch(
    trainer: Trainer,
    groups: list[Group],
    labels: list[Integers],
    memories: list[torch.Tensor],
    settings: Settings,
    epoch: int,
) -> float:
    """Once over the images; returns the mean of L_hom."""
    options = settings.homogeneous
    steps, batches = trainer.batches(groups, labels, seed=(settings.seed, STAGE, epoch))
    targets = [torch.from_numpy(own).to(trainer.device) for own in labels]
    trainer.train()
    total = 0.0
    for number, step in enumerate(progress(batches, total=steps, title=f"homogeneous {epoch + 1}")):
        queries, _ = trainer.encode(step)
        wanted = [target[part] for target, part in zip(targets, step.parts, strict=True)]
        loss = torch.stack(
            [
                cluster_nce(query, memory, want, temperature=options.temperature)
                for query, memory, want in zip(queries, memories, wanted, strict=True)
            ]
        ).sum()
        trainer.step(loss, epoch=epoch, step=number, steps=steps)
        for memory, want, query in zip(memories, wanted, queries, strict=True):
            update_memory(memory, want, query, momentum=options.memory_momentum)
        total += loss.item()
    return total / steps
