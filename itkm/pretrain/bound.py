"""The second half of the gate: with true labels every scenario must gain clearly, so that there is something to learn.

An upper bound for the method, on validation identities: the same encoder, trained with the hidden identities in place
of pseudo-labels and true pairs in place of matches. Nothing of it reaches a published model.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from itkm.config import Settings
from itkm.data.evaluation import EvaluationImages, load_evaluation
from itkm.data.groups import order_groups
from itkm.data.training import TrainingImages
from itkm.devices import send
from itkm.evaluation.features import FeatureSet
from itkm.evaluation.protocols import protocol_named
from itkm.evaluation.ranking import score
from itkm.losses.memory import cluster_means, update_memory
from itkm.losses.nce import cluster_nce
from itkm.models.encoder import Encoder
from itkm.models.store import build_encoder
from itkm.training.extraction import extract
from itkm.training.groups import Group, Integers, split_groups
from itkm.training.rounds import extract_groups
from itkm.training.runtime import resolve_device
from itkm.training.trainer import Trainer

STAGE = 4
MARGIN = 0.15  # mAP that true labels must add to zero-shot

logger = logging.getLogger(__name__)


def check_true_labels(settings: Settings, places: Mapping[str, tuple[Path, Path]]) -> dict[str, tuple[float, float]]:
    """mAP on validation identities of each scenario, zero-shot and after training with true labels.

    Args:
        settings: all of params.yaml.
        places: for each scenario its evaluation table and the folder of its shards.
    """
    torch.manual_seed(settings.seed)
    height, width, splits = settings.model.height, settings.model.width, ("train", "validation")
    labelled = [
        load_evaluation(*places[name], height=height, width=width, splits=splits) for name in settings.scenarios
    ]
    groups, persons = [], []
    for images in labelled:
        train = images.split == "train"
        _, dense = np.unique(images.person[train], return_inverse=True)
        groups.append(
            TrainingImages(
                paths=images.paths[train],
                scenario=images.scenario,
                group=images.group[train],
                camera=np.unique(images.camera[train], return_inverse=True)[1],
                images=images.images[train],
                group_names=order_groups(images.scenario, images.group_names, file=places[images.scenario][0]),
                camera_names=images.camera_names,
            )
        )
        persons.append(dense.astype(np.int64))
    encoder, _ = build_encoder(settings.model, settings.scenarios)
    before = [mean_average_precision(encoder, images, number) for number, images in enumerate(labelled)]
    halves = split_groups(groups)
    train_with_labels(encoder, halves, [persons[half.scenario][half.rows] for half in halves], settings)
    after = [mean_average_precision(encoder, images, number) for number, images in enumerate(labelled)]
    return dict(zip(settings.scenarios, zip(before, after, strict=True), strict=True))


def mean_average_precision(encoder: Encoder, images: EvaluationImages, scenario: int) -> float:
    """mAP of validation identities, group 1 asking group 0."""
    rows = np.flatnonzero(images.split == "validation")
    features, _ = extract(encoder, images.images[rows], scenario=scenario, group=images.group[rows])
    everything = FeatureSet(features.numpy(), images.person[rows], images.camera[rows])
    asking = images.group[rows] == 1
    return score(everything.rows(asking), everything.rows(~asking), protocol_named("cross-group")).mAP


def train_with_labels(encoder: Encoder, groups: list[Group], labels: list[Integers], settings: Settings) -> None:
    """ClusterNCE against the own and the other group's memory of the true identity; leaves the average in `encoder`."""
    options = settings.homogeneous.model_copy(update={"epochs": settings.pretrain.true_label_epochs})
    trainer = Trainer(encoder, options, device=resolve_device(settings.device))
    for epoch in range(options.epochs):
        features, _ = extract_groups(trainer.average.network, groups)
        targets = [torch.from_numpy(own) for own in labels]
        memories = [
            cluster_means(own, target).to(trainer.device) for own, target in zip(features, targets, strict=True)
        ]
        steps, batches = trainer.batches(groups, labels, seed=(settings.seed, STAGE, epoch))
        trainer.train()
        for number, step in enumerate(batches):
            queries, _ = trainer.encode(step)
            losses = []
            for query, group, target, part, memory in zip(queries, groups, targets, step.parts, memories, strict=True):
                want = send(target[part], trainer.device)
                for own in (memory, memories[group.other]):
                    losses.append(cluster_nce(query, own, want, temperature=options.temperature))
            trainer.step(torch.stack(losses).sum(), epoch=epoch, step=number, steps=steps)
            for memory, target, part, query in zip(memories, targets, step.parts, queries, strict=True):
                update_memory(memory, target[part], query.detach(), momentum=options.memory_momentum)
        logger.info("true labels %d/%d", epoch + 1, options.epochs)
    encoder.load_state_dict(trainer.average.network.state_dict())
