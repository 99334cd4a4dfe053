"""Stage III, unsupervised heterogeneous learning [paper]: match the two groups of each scenario, and learn from it all.

Every epoch: extract and label anew; let the texts follow the labels (DRU); match clusters (CHM) and instances (IHM) of
the two groups in image and text space; train on L = L_hom + a L_chm + b L_ihm + c L_text. Only the image encoder
learns: the frozen CLIP and the offline texts never change.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy.sparse import csr_array
from torch import Tensor

from itkm.config import HeterogeneousSettings, Settings
from itkm.data.training import TrainingImages
from itkm.devices import send
from itkm.files import replacing, write_csv, write_npz
from itkm.labelling.repairs import centre_per_camera
from itkm.losses.image_text import text_guided
from itkm.losses.instance_nce import instance_nce
from itkm.losses.memory import cluster_means, update_memory
from itkm.losses.nce import cluster_nce
from itkm.matching.clusters import cluster_similarity, match_clusters, whitened
from itkm.matching.instances import consistent_pairs, match_instances, mutual_pairs, padded_rows
from itkm.matching.texts import cluster_texts, instance_texts
from itkm.models.store import load_model, save_model
from itkm.progress import progress
from itkm.stages.inputs import load_groups, open_checkpoint
from itkm.stages.layout import Layout
from itkm.training.checkpoint import Checkpoint
from itkm.training.distributed import is_first, once, together
from itkm.training.groups import Group, Integers, Step, require_sizes
from itkm.training.health import agreement, best_partners, cycle_consistency
from itkm.training.record import Record
from itkm.training.rounds import describe, extract_groups, label_groups
from itkm.training.runtime import resolve_device
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


@dataclass(frozen=True, eq=False)
class Matches:
    """Where one group's clusters and images meet those of the other group.

    Attributes:
        partner: cluster of the other group that matches each own cluster, int64 [C], -1 = none (CHM).
        positives: instances of the other group that match each own instance, bool [N, M] (IHM).
        health: share of the clusters whose most similar ones find each other, and for whom image and text agree.
    """

    partner: Integers
    positives: csr_array
    health: dict[str, float]


@dataclass(eq=False)
class Target:
    """What one group's images are trained towards during an epoch.

    Attributes:
        memory: cluster memory [C, D] of the group.
        instances: instance memory [N, D] of the group's own images.
        texts: unit texts [C', E].
        labels: newest pseudo-labels int64 [N], on the CPU as all that follow.
        partner: cluster of the other group that matches each own cluster, int64 [C], -1 = none (CHM).
        positives: instances of the other group that match each own instance, int64 [N, k], -1 = no more (IHM).
        text_labels: the text of each image int64 [N], -1 = none.
        health: of the group's clusters and matches.
    """

    memory: Tensor
    instances: Tensor
    texts: Tensor
    labels: Tensor
    partner: Tensor
    positives: Tensor
    text_labels: Tensor
    health: dict[str, float] = field(default_factory=dict)

    @classmethod
    def restored(cls, state: dict[str, Any], *, device: torch.device) -> Target:
        """The target whose `vars` these are."""
        moved = {name: state[name].to(device) for name in ("memory", "instances", "texts")}
        return cls(**{**state, **moved})


@dataclass(eq=False)
class Round:
    """An epoch under way: the groups' targets, the sums of the losses over the finished steps, and their number."""

    targets: list[Target]
    sums: Tensor = field(default_factory=lambda: torch.zeros(len(LOSSES)))
    steps: int = 0

    @property
    def losses(self) -> dict[str, float]:
        """The means of the losses."""
        return dict(zip(LOSSES, (self.sums / self.steps).tolist(), strict=True))

    @property
    def labels(self) -> list[Integers]:
        """The newest pseudo-labels of every group."""
        return [target.labels.numpy() for target in self.targets]

    def state(self) -> dict[str, Any]:
        """Everything that `restored` needs."""
        return {**vars(self), "targets": [vars(target) for target in self.targets]}

    @classmethod
    def restored(cls, state: dict[str, Any], groups: list[Group], *, device: torch.device) -> Round:
        """The round whose state this is."""
        found = cls(**{**state, "targets": [Target.restored(own, device=device) for own in state["targets"]]})
        require_sizes(groups, found.labels, [target.memory for target in found.targets])
        return found


def run(settings: Settings, layout: Layout) -> None:
    """Trains on matched groups and writes `artifacts/model` and `artifacts/heterogeneous`."""
    device = resolve_device(settings.device)
    with together(device):
        torch.manual_seed(settings.seed)
        scenarios, groups = load_groups(settings, layout)
        offline = load_offline(settings, layout, groups)
        encoder, clip, card = load_model(layout.homogeneous)
        trainer = Trainer(encoder, settings.heterogeneous, device=device)
        scale = float(clip.logit_scale.detach().exp())
        texts = layout.prompts / "texts.safetensors"
        inputs = [path for name in settings.scenarios for path in (layout.features(name), layout.clusters(name))]
        inputs += [layout.homogeneous / "model.safetensors", layout.homogeneous / "config.json", texts]
        checkpoint = open_checkpoint("heterogeneous", settings, SECTIONS, layout, inputs)
        record = train(trainer, groups, offline, settings, checkpoint, scale=scale)
        final = prepare(trainer, groups, offline, settings)
        if is_first():
            save_model(trainer.average.network, clip, card, layout.model)
            with replacing(layout.model / "texts.safetensors") as temporary:
                shutil.copyfile(texts, temporary)
            save_matches(final, record, groups, scenarios, layout)
            write_csv(layout.heterogeneous / "history.csv", record.history)
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


def train(
    trainer: Trainer,
    groups: list[Group],
    offline: list[OfflineTexts],
    settings: Settings,
    checkpoint: Checkpoint,
    *,
    scale: float,
) -> Record:
    """All epochs, from where the checkpoint stands."""
    record, current = Record(), None
    if state := once(checkpoint.load):
        with checkpoint.restoring():
            trainer.restore(state["trainer"])
            record = Record.restored(state["record"])
            current = Round.restored(state["round"], groups, device=trainer.device)
    for epoch in range(len(record.labels), settings.heterogeneous.epochs):
        begun = time.perf_counter()
        current = current or Round(prepare(trainer, groups, offline, settings))
        for step in train_steps(trainer, groups, current, settings, epoch, scale=scale):
            if checkpoint.due():
                parts = {"trainer": trainer.state(), "record": record.state(), "round": current.state()}
                checkpoint.save({"epoch": epoch, "step": step, **parts})
        checkpoint.require_finite(current.losses["loss"], epoch=epoch)
        close_round(current, record, groups)
        logger.info(
            "heterogeneous %d/%d  loss %.3f (homogeneous %.3f, cluster %.3f, instance %.3f, text %.3f)  %s  %.0f s",
            *(epoch + 1, settings.heterogeneous.epochs, *current.losses.values()),
            *(describe(groups, current.labels), time.perf_counter() - begun),
        )
        current = None
    return record


def close_round(current: Round, record: Record, groups: list[Group]) -> None:
    """Adds a finished epoch to the record."""
    values = [
        {
            **current.losses,
            "cluster_pairs": int((target.partner >= 0).sum()),
            "instance_pairs": int((target.positives >= 0).sum()),
            **target.health,
        }
        for target in current.targets
    ]
    record.partners.append([target.partner.numpy() for target in current.targets])
    record.add(groups, current.labels, values)


def prepare(trainer: Trainer, groups: list[Group], offline: list[OfflineTexts], settings: Settings) -> list[Target]:
    """Steps 1 to 4 of an epoch: newest labels, texts that follow them, matched clusters and instances."""
    options = settings.heterogeneous
    features, _ = extract_groups(trainer.average.network, groups)
    labels, silhouettes = once(
        lambda: label_groups(features, groups, settings.labelling, camera_centring=options.camera_centring)
    )
    means = [cluster_means(own, torch.from_numpy(label)) for own, label in zip(features, labels, strict=True)]
    matches = once(lambda: match_groups(groups, features, labels, offline, options))
    targets = []
    for place, own in enumerate(matches):
        texts, text_labels = current_texts(offline[place], labels[place], dynamic=options.dynamic_texts)
        device = trainer.device
        targets.append(
            Target(
                memory=means[place].to(device),
                instances=features[place].clone().to(device),
                texts=torch.from_numpy(texts).to(device),
                labels=torch.from_numpy(labels[place]),
                partner=torch.from_numpy(own.partner),
                positives=torch.from_numpy(padded_rows(own.positives)),
                text_labels=torch.from_numpy(text_labels),
                health={"silhouette": silhouettes[place], **own.health},
            )
        )
    return targets


def match_groups(
    groups: list[Group],
    features: list[Tensor],
    labels: list[Integers],
    offline: list[OfflineTexts],
    options: HeterogeneousSettings,
) -> list[Matches]:
    """CHM and IHM: every group's clusters and images against those of its scenario's other group."""
    if options.match_centring:  # what the cameras, and so the groups, do not share is not compared [ours]
        features = [
            torch.from_numpy(centre_per_camera(own.numpy(), group.camera))
            for own, group in zip(features, groups, strict=True)
        ]
    found = [
        match_instances(
            *(features[own] for own in (place, group.other)),
            *(offline[own].instances for own in (place, group.other)),
            k=options.instance_neighbours,
        )
        for place, group in enumerate(groups)
    ]
    clusters = [
        match_group_clusters((place, group.other), features, labels, offline, options)
        for place, group in enumerate(groups)
    ]
    matches = []
    for place, group in enumerate(groups):
        partner, health = clusters[place]
        positives = found[place]
        if options.instance_pairs != "all":
            positives = mutual_pairs(positives, found[group.other])
        if follows_clusters(options):
            both = (labels[place], labels[group.other]), (partner, clusters[group.other][0])
            positives = consistent_pairs(positives, *both)
        matches.append(Matches(partner, positives, health))
    return matches


def follows_clusters(options: HeterogeneousSettings) -> bool:
    """Whether IHM keeps to what CHM says; a CHM without weight, as in an ablation, says nothing."""
    return options.instance_pairs == "consistent" and options.cluster_weight > 0


def match_group_clusters(
    pair: tuple[int, int],
    features: list[Tensor],
    labels: list[Integers],
    offline: list[OfflineTexts],
    options: HeterogeneousSettings,
) -> tuple[Integers, dict[str, float]]:
    """CHM: the partner in the other group of each cluster, by the similarity of their means and of their texts."""
    means = [cluster_means(features[own], torch.from_numpy(labels[own])).numpy() for own in pair]
    if options.cluster_whitening:
        means = list(whitened(*means, share=options.cluster_whitening))
    texts = [cluster_texts(offline[own].instances, labels[own]) for own in pair]
    similarity = cluster_similarity(*means, *texts, text_weight=options.cluster_text_weight)
    health = {
        "cycle_consistency": cycle_consistency(*best_partners(similarity)),
        "agreement": agreement(*means, *texts),
    }
    return match_clusters(similarity, pairs=options.cluster_pairs)[0], health


def current_texts(offline: OfflineTexts, labels: Integers, *, dynamic: bool) -> tuple[Floats, Integers]:
    """DRU: the newest clusters' texts and labels; without it the offline texts and Stage II's labels stay."""
    if dynamic:
        return cluster_texts(offline.instances, labels), labels
    return offline.texts, offline.labels


def train_steps(
    trainer: Trainer, groups: list[Group], current: Round, settings: Settings, epoch: int, *, scale: float
) -> Iterator[int]:
    """Step 5: once over the images with the combined objective; yields the number of finished steps after each."""
    options = settings.heterogeneous
    seed = (settings.seed, STAGE, epoch)
    steps, batches = trainer.batches(groups, current.labels, seed=seed, done=current.steps)
    trainer.train()
    for step in progress(batches, total=steps - current.steps, title=f"heterogeneous {epoch + 1}"):
        queries, projected = trainer.encode(step)
        parts = step_losses(queries, projected, step, groups, current.targets, options, scale=scale)
        weights = parts.new_tensor([1.0, options.cluster_weight, options.instance_weight, options.text_weight])
        loss = parts @ weights
        trainer.step(loss, epoch=epoch, step=current.steps, steps=steps)
        update_memories(queries, step, current.targets, options)
        current.sums = current.sums.to(trainer.device) + torch.cat([loss[None], parts]).detach()
        current.steps += 1
        yield current.steps


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
    losses, tau = [], options.temperature
    for query, seen, rows, group, target in zip(queries, projected, step.parts, groups, targets, strict=True):
        other, label = targets[group.other], target.labels[rows]
        wanted = torch.stack([label, target.partner[label], target.text_labels[rows]])
        own, partner, text = send(wanted, query.device).unbind()
        positives = as_mask(send(target.positives[rows], query.device), len(other.labels))
        matched = None
        if follows_clusters(options):  # what CHM holds for the same person is no negative of IHM
            matched = (send(other.labels, query.device) == partner[:, None]) & (partner >= 0)[:, None]
        losses.append(
            torch.stack(
                [
                    cluster_nce(query, target.memory, own, temperature=tau),
                    cluster_nce(query, other.memory, partner, temperature=tau),
                    instance_nce(query, other.instances, positives, temperature=tau, left_out=matched),
                    text_guided(seen, target.texts, text, scale=scale, smoothing=options.label_smoothing),
                ]
            )
        )
    return torch.stack(losses).sum(0)


def as_mask(places: Tensor, count: int) -> Tensor:
    """bool [B, count], true at the places int64 [B, k]; -1 is none."""
    mask = torch.zeros(len(places), count + 1, dtype=torch.bool, device=places.device)
    return mask.scatter_(1, places.where(places >= 0, count), True)[:, :count]


def update_memories(queries: list[Tensor], step: Step, targets: list[Target], options: HeterogeneousSettings) -> None:
    """Moves the cluster and instance memories towards the features just computed."""
    for query, rows, target in zip(queries, step.parts, targets, strict=True):
        update_memory(target.memory, target.labels[rows], query, momentum=options.memory_momentum)
        update_memory(target.instances, rows, query, momentum=options.instance_momentum)


def save_matches(
    targets: list[Target], record: Record, groups: list[Group], scenarios: list[TrainingImages], layout: Layout
) -> None:
    """Writes the final labels and matches of each scenario, and those of every epoch, for evaluation and report."""
    for number, training in enumerate(scenarios):
        first, second = targets[2 * number], targets[2 * number + 1]
        halves = (groups[2 * number], groups[2 * number + 1])
        count = sum(len(half.rows) for half in halves)
        labels, group = np.full(count, -1, dtype=np.int64), np.empty(count, dtype=np.int64)
        for half, target in zip(halves, (first, second), strict=True):
            labels[half.rows], group[half.rows] = target.labels.numpy(), half.group
        row, place = (first.positives >= 0).nonzero(as_tuple=True)
        column = first.positives[row, place]
        score = (first.instances.cpu()[row] * second.instances.cpu()[column]).sum(1).numpy()
        write_npz(
            layout.heterogeneous / f"{training.scenario}.npz",
            {
                "labels": labels,
                "group": group,
                "path": training.paths,
                "partner_0": first.partner.numpy(),
                "partner_1": second.partner.numpy(),
                "pairs": np.stack([halves[0].rows[row], halves[1].rows[column]], axis=1),
                "pair_score": score,
                "epoch_labels": record.epoch_labels(groups, number),
                "epoch_partner_0": record.epoch_partners(2 * number),
                "epoch_partner_1": record.epoch_partners(2 * number + 1),
            },
        )
