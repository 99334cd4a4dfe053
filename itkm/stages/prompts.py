"""Stage II, text representation learning [paper]: one prompt per cluster, learned through a second, frozen CLIP.

"A photo of a [X1]...[XM] person." L = L_i2t + L_t2i + w L_sep; only the tokens [X] receive gradients. The result, one
text vector per cluster, is the offline text representation of Stage III.

A cluster of the other group of the same scenario may be the same person, whom Stage III wants to find by the text: such
pairs are no negatives. [ours; measured: docs/method.md]
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn.functional import normalize

from itkm.config import Settings
from itkm.files import write_bytes, write_csv
from itkm.losses.image_text import supervised_contrastive
from itkm.losses.separation import separation
from itkm.models.clip import Clip, load_clip
from itkm.models.prompts import Prompts
from itkm.stages.inputs import open_checkpoint
from itkm.stages.layout import Layout
from itkm.training.optimisation import learning_rate
from itkm.training.runtime import resolve_device, torch_generator

STAGE = 2
SECTIONS = ("scenarios", "seed", "model", "prompts")
LOSSES = ("loss", "loss_image_text", "loss_text_image", "loss_separation")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Clusters:
    """The clustered images of all scenarios, with clusters numbered through.

    Attributes:
        images: unit projections [N, E] of the frozen CLIP.
        cluster: int64 [N], of each image.
        scenario, group: int64 [C], of each cluster; the group is 0 or 1.
        names: each (scenario, group) as `texts.safetensors` names it, with its number of clusters.
    """

    images: Tensor
    cluster: Tensor
    scenario: Tensor
    group: Tensor
    names: list[tuple[str, int]]


@dataclass(eq=False)
class Round:
    """An epoch under way: the sums of the losses over the finished steps, and their number."""

    sums: Tensor = field(default_factory=lambda: torch.zeros(len(LOSSES)))
    steps: int = 0


def run(settings: Settings, layout: Layout) -> None:
    """Learns a prompt for every cluster of every (scenario, group) and writes `artifacts/prompts`."""
    options = settings.prompts
    device = resolve_device(settings.device)
    clusters = load_clusters(settings, layout, device)
    count = len(clusters.scenario)
    clip = load_clip(settings.model).to(device).eval().requires_grad_(False)
    generator = torch_generator(settings.seed, STAGE)
    prompts = Prompts(clip.text, count=count, tokens=options.tokens, generator=generator).to(device)
    optimiser = torch.optim.Adam(prompts.parameters(), lr=options.learning_rate)
    inputs = [path for name in settings.scenarios for path in (layout.features(name), layout.clusters(name))]
    checkpoint = open_checkpoint("prompts", settings, SECTIONS, layout, inputs)
    history: list[dict[str, object]] = []
    current = Round()
    if state := checkpoint.load():
        with checkpoint.restoring():
            prompts.load_state_dict(state["prompts"])
            optimiser.load_state_dict(state["optimiser"])
            history, current = state["history"], Round(**state["round"])
    for epoch in range(len(history), options.epochs):
        for step in train_steps(clip, prompts, optimiser, clusters, current, settings, epoch):
            if checkpoint.due():
                parts = {"prompts": prompts.state_dict(), "optimiser": optimiser.state_dict(), "history": history}
                checkpoint.save({"epoch": epoch, "step": step, "round": vars(current), **parts})
        losses = dict(zip(LOSSES, (current.sums / current.steps).tolist(), strict=True))
        checkpoint.require_finite(losses["loss"], epoch=epoch)
        between = between_scenarios(encode_clusters(clip, prompts, count), clusters.scenario)
        history.append({"epoch": epoch + 1, **losses, "between_scenarios": between})
        logger.info(
            "prompts %d/%d  loss %.3f  separation %.4f  mean cosine between scenarios %.3f",
            *(epoch + 1, options.epochs, losses["loss"], losses["loss_separation"], between),
        )
        current = Round()
    save_texts(encode_clusters(clip, prompts, count).cpu(), clusters.names, layout)
    write_csv(layout.prompts / "history.csv", history)
    checkpoint.remove()


def load_clusters(settings: Settings, layout: Layout, device: torch.device) -> Clusters:
    """What Stage I left: its clusters, and the frozen CLIP's view of their images."""
    images, clusters, scenarios, groups, names = [], [], [], [], []
    offset = 0
    for number, scenario in enumerate(settings.scenarios):
        with np.load(layout.features(scenario), allow_pickle=False) as stored:
            frozen = stored["frozen"]
        with np.load(layout.clusters(scenario), allow_pickle=False) as stored:
            labels, group = stored["labels"], stored["group"]
        for half in (0, 1):
            rows = (group == half) & (labels >= 0)
            count = int(labels[rows].max(initial=-1)) + 1
            images.append(torch.from_numpy(frozen[rows]))
            clusters.append(torch.from_numpy(labels[rows] + offset))
            scenarios.append(torch.full((count,), number))
            groups.append(torch.full((count,), half))
            names.append((f"{scenario}/{half}", count))
            offset += count
    return Clusters(
        images=torch.cat(images).to(device),
        cluster=torch.cat(clusters).to(device),
        scenario=torch.cat(scenarios).to(device),
        group=torch.cat(groups).to(device),
        names=names,
    )


def train_steps(
    clip: Clip,
    prompts: Prompts,
    optimiser: torch.optim.Optimizer,
    clusters: Clusters,
    current: Round,
    settings: Settings,
    epoch: int,
) -> Iterator[int]:
    """Once over the cached features; yields the number of finished steps after each."""
    options = settings.prompts
    scale = clip.logit_scale.exp()
    batches = list(shuffled(len(clusters.images), options.batch, torch_generator(settings.seed, STAGE, epoch)))
    for rows in batches[current.steps :]:
        factor = learning_rate((epoch + current.steps / len(batches)) / options.epochs, warmup=options.warmup)
        optimiser.param_groups[0]["lr"] = options.learning_rate * factor
        wanted, place = clusters.cluster[rows].unique(return_inverse=True)
        scenario, group = clusters.scenario[wanted], clusters.group[wanted]
        undecided = (scenario[place, None] == scenario[place]) & (group[place, None] != group[place])
        texts = normalize(prompts(clip.text, wanted), dim=1)
        seen, written = scale * clusters.images[rows], texts[place]
        image_text = supervised_contrastive(seen, written, place, undecided=undecided)
        text_image = supervised_contrastive(written, seen, place, undecided=undecided)
        apart = separation(texts, scenario, margin=options.separation_margin)
        loss = image_text + text_image + options.separation_weight * apart
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        current.sums = current.sums + torch.stack([loss, image_text, text_image, apart]).detach().cpu()
        current.steps += 1
        logger.debug("epoch %d, step %d of %d: sums %s", epoch + 1, current.steps, len(batches), current.sums.tolist())
        yield current.steps


def shuffled(count: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Random batches that cover all rows; a last batch of a single row joins the one before it."""
    batches = list(torch.randperm(count, generator=generator).split(batch))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return iter(batches)


@torch.no_grad()
def encode_clusters(clip: Clip, prompts: Prompts, count: int, *, batch: int = 256) -> Tensor:
    """Unit text vectors of all clusters [C, E]."""
    device = prompts.learned.device
    numbers = torch.arange(count, device=device).split(batch)
    return torch.cat([normalize(prompts(clip.text, own), dim=1) for own in numbers])


def between_scenarios(texts: Tensor, scenario: Tensor) -> float:
    """Mean cosine of texts of different scenarios: what the separation loss lowers; 0 for a single scenario."""
    different = scenario[:, None] != scenario[None, :]
    return float((texts @ texts.T)[different].mean()) if different.any() else 0.0


def save_texts(texts: Tensor, names: list[tuple[str, int]], layout: Layout) -> None:
    """Writes `texts.safetensors`: a tensor [C, E] for each `<scenario>/<0 or 1>`."""
    parts = texts.split([count for _, count in names])
    content = save({name: part.contiguous() for (name, _), part in zip(names, parts, strict=True)})
    write_bytes(layout.prompts / "texts.safetensors", content)
