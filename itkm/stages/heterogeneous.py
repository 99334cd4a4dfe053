"""Stage III, unsupervised heterogeneous learning [paper]: match the two groups of each scenario, and learn from it all.

Every epoch: extract and label anew; let the texts follow the labels (DRU); match clusters (CHM) and instances (IHM) of
the two groups in image and text space; train on L = L_hom + a L_chm + b L_ihm + c L_text. Only the image encoder
learns: the frozen CLIP and the offline texts never change.
"""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy.sparse import csr_array
from torch import Tensor

from itkm.config import HeterogeneousSettings, Settings
from itkm.data.training import TrainingImages
from itkm.files import replacing, write_csv, write_npz
from itkm.labelling.repairs import centre_per_camera
from itkm.losses.image_text import text_guided
from itkm.losses.instance_nce import instance_nce
from itkm.losses.memory import cluster_means, update_memory
from itkm.losses.nce import cluster_nce
from itkm.matching.clusters import cluster_similarity, match_clusters, whitened
from itkm.matching.instances import match_instances
from itkm.matching.texts import cluster_texts, instance_texts
from itkm.models.clip import load_clip
from itkm.models.store import load_model, save_model
from itkm.stages.inputs import load_scenarios, open_checkpoint
from itkm.stages.layout import Layout
from itkm.training.groups import Group, Integers, Step, split_groups
from itkm.training.rounds import count_clusters, describe, extract_groups, label_groups, outlier_share
from itkm.training.runtime import progress, resolve_device
from itkm.training.trainer import Trainer

STAGE = 3
SECTIONS = ("scenarios", "seed", "model", "labelling", "heterogeneous")
LOSSES = ("loss", "loss_homogeneous", "loss_cluster", "loss_instance", "loss_text")

Floats = NDArray[np.float32]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class OfflineTexts:
    """What Stage II left for one group: its clusters' texts [C, E], its labels [N], a text per instance [N, E]."""

    texts: Floats
    labels: Integers
    instances: Floats


@dataclass(eq=False)
class Target:
    """What one group's images are trained towards during an epoch.

    Attributes:
        labels: newest pseudo-labels int64 [N].
        memory: cluster memory [C, D] of the group.
        partner: cluster of the other group that matches each own cluster, int64 [C], -1 = none (CHM).
        instances: instance memory [N, D] of the group's own images.
        positives: instances of the other group that match each own instance, bool [N, M] (IHM).
        texts, text_labels: unit texts [C', E] and the text of each image int64 [N], -1 = none.
    """

    labels: Tensor
    memory: Tensor
    partner: Tensor
    instances: Tensor
    positives: csr_array
    texts: Tensor
    text_labels: Tensor


def run(settings: Settings, layout: Layout) -> None:
    """Trains on matched groups and writes `artifacts/model` and `artifacts/heterogeneous`."""
    torch.manual_seed(settings.seed)
    scenarios = load_scenarios(settings, layout)
    groups = split_groups(scenarios)
    offline = load_offline(settings, layout, groups)
    encoder, clip, card = load_model(layout.homogeneous)
    trainer = Trainer(encoder.requires_grad_(True), settings.heterogeneous, device=resolve_device(settings.device))
    trainer.encoder.neck.bias.requires_grad_(False)
    scale = float(load_clip(settings.model).logit_scale.detach().exp())
    texts = layout.prompts / "texts.safetensors"
    inputs = [path for name in settings.scenarios for path in (layout.features(name), layout.clusters(name))]
    inputs += [layout.homogeneous / "model.safetensors", layout.homogeneous / "config.json", texts]
    checkpoint = open_checkpoint("heterogeneous", settings, SECTIONS, layout, inputs)
    history: list[dict[str, object]] = []
    first = 0
    if state := checkpoint.load():
        trainer.restore(state["trainer"])
        history, first = state["history"], state["epoch"]
    for epoch in range(first, settings.heterogeneous.epochs):
        history += run_epoch(trainer, groups, offline, settings, epoch, scale=scale)
        checkpoint.save({"epoch": epoch + 1, "trainer": trainer.state(), "history": history})
    save_model(trainer.average.network, clip, card, layout.model)
    with replacing(layout.model / "texts.safetensors") as temporary:
        shutil.copyfile(texts, temporary)
    final = prepare(trainer, groups, offline, settings)
    save_matches(final, groups, scenarios, layout)
    write_csv(layout.heterogeneous / "history.csv", history)
    checkpoint.remove()


def load_offline(settings: Settings, layout: Layout, groups: list[Group]) -> list[OfflineTexts]:
    """Stage II's texts of every group; an outlier of Stage II takes the text nearest to its image (DRU)."""
    texts = load_file(layout.prompts / "texts.safetensors")
    offline = []
    for group in groups:
        scenario = settings.scenarios[group.scenario]
        with np.load(layout.features(scenario), allow_pickle=False) as stored:
            frozen = stored["frozen"][group.rows]
        with np.load(layout.clusters(scenario), allow_pickle=False) as stored:
            labels = stored["labels"][group.rows]
        own = texts[f"{scenario}/{group.group}"].numpy()
        offline.append(OfflineTexts(own, labels, instance_texts(labels, own, frozen)))
    return offline


def run_epoch(
    trainer: Trainer, groups: list[Group], offline: list[OfflineTexts], settings: Settings, epoch: int, *, scale: float
) -> list[dict[str, object]]:
    """Prepare the targets, train; returns the epoch's rows of the history."""
    begun = time.perf_counter()
    targets = prepare(trainer, groups, offline, settings)
    losses = train_epoch(trainer, groups, targets, settings, epoch, scale=scale)
    labels = [target.labels.cpu().numpy() for target in targets]
    logger.info(
        "heterogeneous %d/%d  loss %.3f (homogeneous %.3f, cluster %.3f, instance %.3f, text %.3f)  %s  %.0f s",
        *(epoch + 1, settings.heterogeneous.epochs, *(losses[name] for name in LOSSES)),
        *(describe(groups, labels), time.perf_counter() - begun),
    )
    return [
        {
            "epoch": epoch + 1,
            "scenario": settings.scenarios[group.scenario],
            "group": group.name.split("/")[1],
            "images": len(own),
            "clusters": count_clusters(own),
            "outliers": outlier_share(own),
            **losses,
            "cluster_pairs": int((target.partner >= 0).sum()),
            "instance_pairs": target.positives.nnz,
        }
        for group, own, target in zip(groups, labels, targets, strict=True)
    ]


def prepare(trainer: Trainer, groups: list[Group], offline: list[OfflineTexts], settings: Settings) -> list[Target]:
    """Steps 1 to 4 of an epoch: newest labels, texts that follow them, matched clusters and instances."""
    options = settings.heterogeneous
    features, _ = extract_groups(trainer.average.network, groups)
    labels = label_groups(features, groups, settings.labelling, camera_centring=options.camera_centring)
    means = [cluster_means(own, torch.from_numpy(label)) for own, label in zip(features, labels, strict=True)]
    comparable = features
    if options.match_centring:  # what the cameras, and so the groups, do not share is not compared [ours]
        comparable = [
            torch.from_numpy(centre_per_camera(own.numpy(), group.camera))
            for own, group in zip(features, groups, strict=True)
        ]
    targets = []
    for place, group in enumerate(groups):
        pair = (place, group.other)
        partner = match_group_clusters(pair, comparable, labels, offline, options)
        positives = match_instances(
            *(comparable[own] for own in pair),
            *(offline[own].instances for own in pair),
            k=options.instance_neighbours,
        )
        texts, text_labels = current_texts(offline[place], labels[place], dynamic=options.dynamic_texts)
        device = trainer.device
        targets.append(
            Target(
                labels=torch.from_numpy(labels[place]).to(device),
                memory=means[place].to(device),
                partner=torch.from_numpy(partner).to(device),
                instances=features[place].clone().to(device),
                positives=positives,
                texts=torch.from_numpy(texts).to(device),
                text_labels=torch.from_numpy(text_labels).to(device),
            )
        )
    return targets


def match_group_clusters(
    pair: tuple[int, int],
    features: list[Tensor],
    labels: list[Integers],
    offline: list[OfflineTexts],
    options: HeterogeneousSettings,
) -> Integers:
    """CHM: the partner in the other group of each cluster, by the similarity of their means and of their texts."""
    means = [cluster_means(features[own], torch.from_numpy(labels[own])).numpy() for own in pair]
    if options.cluster_whitening:
        means = list(whitened(*means, share=options.cluster_whitening))
    texts = [cluster_texts(offline[own].instances, labels[own]) for own in pair]
    similarity = cluster_similarity(*means, *texts, text_weight=options.cluster_text_weight)
    return match_clusters(similarity, pairs=options.cluster_pairs)[0]


def current_texts(offline: OfflineTexts, labels: Integers, *, dynamic: bool) -> tuple[Floats, Integers]:
    """DRU: the newest clusters' texts and labels; without it the offline texts and Stage II's labels stay."""
    if dynamic:
        return cluster_texts(offline.instances, labels), labels
    return offline.texts, offline.labels


def train_epoch(
    trainer: Trainer, groups: list[Group], targets: list[Target], settings: Settings, epoch: int, *, scale: float
) -> dict[str, float]:
    """Step 5: once over the images with the combined objective; returns the means of the losses."""
    options = settings.heterogeneous
    steps, batches = trainer.batches(
        groups, [target.labels.cpu().numpy() for target in targets], seed=(settings.seed, STAGE, epoch)
    )
    trainer.train()
    sums = torch.zeros(len(LOSSES), device=trainer.device)
    for number, step in enumerate(progress(batches, total=steps, title=f"heterogeneous {epoch + 1}")):
        queries, projected = trainer.encode(step)
        parts = step_losses(queries, projected, step, groups, targets, options, scale=scale)
        weights = parts.new_tensor([1.0, options.cluster_weight, options.instance_weight, options.text_weight])
        loss = parts @ weights
        trainer.step(loss, epoch=epoch, step=number, steps=steps)
        update_memories(queries, step, targets, options)
        sums += torch.cat([loss[None], parts]).detach()
    return dict(zip(LOSSES, (sums / steps).tolist(), strict=True))


def step_losses(
    queries: list[Tensor],
    projected: list[Tensor],
    step: Step,
    groups: list[Group],
    targets: list[Target],
    options: HeterogeneousSettings,
    *,
    scale: float,
) -> Tensor:
    """L_hom, L_chm, L_ihm and L_text, each summed over the groups: [4]."""
    losses = []
    for query, seen, rows, group, target in zip(queries, projected, step.parts, groups, targets, strict=True):
        other, label, tau = targets[group.other], target.labels[rows], options.temperature
        positives = torch.from_numpy(target.positives[rows.cpu().numpy()].toarray()).to(query.device)
        losses.append(
            torch.stack(
                [
                    cluster_nce(query, target.memory, label, temperature=tau),
                    cluster_nce(query, other.memory, target.partner[label], temperature=tau),
                    instance_nce(query, other.instances, positives, temperature=tau),
                    text_guided(
                        seen, target.texts, target.text_labels[rows], scale=scale, smoothing=options.label_smoothing
                    ),
                ]
            )
        )
    return torch.stack(losses).sum(0)


def update_memories(queries: list[Tensor], step: Step, targets: list[Target], options: HeterogeneousSettings) -> None:
    """Moves the cluster and instance memories towards the features just computed."""
    for query, rows, target in zip(queries, step.parts, targets, strict=True):
        update_memory(target.memory, target.labels[rows], query, momentum=options.memory_momentum)
        update_memory(target.instances, rows, query, momentum=options.instance_momentum)


def save_matches(targets: list[Target], groups: list[Group], scenarios: list[TrainingImages], layout: Layout) -> None:
    """Writes the final labels and matches of each scenario, for the evaluation and the report."""
    for number, training in enumerate(scenarios):
        first, second = targets[2 * number], targets[2 * number + 1]
        halves = (groups[2 * number], groups[2 * number + 1])
        count = sum(len(half.rows) for half in halves)
        labels, group = np.full(count, -1, dtype=np.int64), np.empty(count, dtype=np.int64)
        for half, target in zip(halves, (first, second), strict=True):
            labels[half.rows], group[half.rows] = target.labels.cpu().numpy(), half.group
        row, column = first.positives.nonzero()
        score = (first.instances.cpu()[row] * second.instances.cpu()[column]).sum(1).numpy()
        write_npz(
            layout.heterogeneous / f"{training.scenario}.npz",
            {
                "labels": labels,
                "group": group,
                "path": training.paths,
                "partner_0": first.partner.cpu().numpy(),
                "partner_1": second.partner.cpu().numpy(),
                "pairs": np.stack([halves[0].rows[row], halves[1].rows[column]], axis=1),
                "pair_score": score,
            },
        )
