"""Aligns the tiny CLIP with captioned rendered persons, whose identities occur in no scenario.

Loss: CLIP's symmetric contrastive loss over image-caption pairs, plus the cross-entropies of each attribute, by a
linear head and by text prompts: whole captions alone left the text side behind the heads. A batch holds infrared images
with captions that name no colours, and greyed images whose captions lose their colour words, so that the encoder cannot
live on colours alone.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from itkm.config import Settings
from itkm.data.images import resize_array
from itkm.data.render.captions import COLOUR_ATTRIBUTES
from itkm.data.render.dataset import ATTRIBUTES, Captioned, prompt, render_captioned, vocabulary
from itkm.data.render.wardrobe import COLOURS, HAIR_COLOURS, SKINS
from itkm.files import replacing
from itkm.models.clip import Clip, DemoConfig, build_demo, save_demo
from itkm.models.tokenizer import Tokenizer, tokenize
from itkm.pretrain.imagenet import start_from_imagenet
from itkm.progress import progress
from itkm.training.augment import augment
from itkm.training.extraction import to_pixels
from itkm.training.optimisation import learning_rate
from itkm.training.runtime import numpy_generator, resolve_device, torch_generator

STAGE = 0
CAPTIONS = 3  # of each image: two of the whole person, and
STABLE = 2  # the last, of what survives a change of clothes
COLOUR_WORDS = {*COLOURS, *HAIR_COLOURS, *SKINS}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Corpus:
    """The captioned images, ready for batches.

    Attributes:
        images: uint8 [N, 3, H, W].
        tokens, grey_tokens: captions and the same without colour words, int64 [N, 3, L].
        infrared: bool [N].
        attributes: the class of each image for each attribute, int64 [N].
        prompts: one text for each class of each attribute, int64 [classes, L].
    """

    images: np.ndarray
    tokens: Tensor
    grey_tokens: Tensor
    infrared: np.ndarray
    attributes: dict[str, Tensor]
    prompts: dict[str, Tensor]


def pretrain(settings: Settings, out: Path) -> None:
    """Renders the corpus, aligns both towers and writes the demo's CLIP with its attribute heads to `out`."""
    torch.manual_seed(settings.seed)
    device = resolve_device(settings.device)
    config = DemoConfig(words=tuple(vocabulary()))
    clip = build_demo(config)
    start_from_imagenet(clip)
    clip = clip.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    corpus = prepare(render_captioned(settings.render), settings, clip.text.tokenizer)
    logger.info("pretrain: %d captioned images of persons that are in no scenario", len(corpus.images))
    heads = nn.ModuleDict(
        {name: nn.Linear(clip.trunk.feature_dim, len(values)) for name, values in ATTRIBUTES.items()}
    ).to(device)
    align(clip, heads, corpus, settings, device)
    save_demo(clip, config, out)
    with replacing(out / "heads.safetensors") as temporary:
        save_file({name: value.half().contiguous() for name, value in heads.state_dict().items()}, temporary)


def prepare(captioned: Captioned, settings: Settings, tokenizer: Tokenizer) -> Corpus:
    """Resizes the images and turns words and attributes into numbers."""
    flat = [caption for captions in captioned.captions for caption in captions]
    grey = [" ".join(word for word in caption.split() if word.strip(",.") not in COLOUR_WORDS) for caption in flat]
    shape = (len(captioned.images), CAPTIONS, -1)
    return Corpus(
        images=resize_array(captioned.images, height=settings.model.height, width=settings.model.width),
        tokens=tokenize(tokenizer, flat).view(shape),
        grey_tokens=tokenize(tokenizer, grey).view(shape),
        infrared=captioned.infrared,
        attributes={
            name: torch.tensor([values.index(value) for value in captioned.attributes[name]])
            for name, values in ATTRIBUTES.items()
        },
        prompts={
            name: tokenize(tokenizer, [prompt(name, value, infrared=False) for value in values])
            for name, values in ATTRIBUTES.items()
        },
    )


def align(clip: Clip, heads: nn.ModuleDict, corpus: Corpus, settings: Settings, device: torch.device) -> None:
    """Trains towers and heads together."""
    options = settings.pretrain
    tower = [*clip.stem.parameters(), *(p for name, p in clip.trunk.named_parameters() if _from_imagenet(name))]
    known = {id(parameter) for parameter in tower}
    new = [p for p in [*clip.parameters(), *heads.parameters()] if id(p) not in known]
    rates = (options.tower_rate, options.new_rate)
    optimiser = torch.optim.AdamW([{"params": tower}, {"params": new}], weight_decay=0.02)
    clip.train()
    begun, losses = time.perf_counter(), torch.zeros(2)
    batches = draw_batches(corpus, settings, device)
    for step, (pixels, tokens, hidden, rows) in enumerate(progress(batches, total=options.steps, title="pretrain")):
        factor = learning_rate(step / options.steps, warmup=0.02)
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        feature, projected = clip.encode_image(pixels)
        contrast = contrastive(projected, clip.text(tokens), clip.logit_scale)
        by_head = {name: head(feature) for name, head in heads.items()}
        by_prompt = prompt_logits(clip, projected, corpus.prompts)
        named = attribute_loss(by_head, corpus, rows, hidden) + attribute_loss(by_prompt, corpus, rows, hidden)
        loss = contrast + options.attribute_weight * named
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(clip.parameters(), 5.0)
        optimiser.step()
        losses += torch.stack([contrast, named]).detach().cpu()
        if (step + 1) % 100 == 0:
            logger.info(
                "pretrain %d/%d  contrastive %.3f  attributes %.3f  %.0f s",
                *(step + 1, options.steps, *(losses / 100).tolist(), time.perf_counter() - begun),
            )
            losses.zero_()


def draw_batches(
    corpus: Corpus, settings: Settings, device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Augmented pixels, the tokens of one caption each, whether colours are hidden, and the images' rows."""
    options = settings.pretrain
    rng, generator = numpy_generator(settings.seed, STAGE), torch_generator(settings.seed, STAGE)
    for _ in range(options.steps):
        rows = rng.choice(len(corpus.images), size=options.batch, replace=False)
        pixels = jitter(augment(to_pixels(corpus.images[rows], device), generator=generator), generator)
        greyed = torch.from_numpy(~corpus.infrared[rows] & (rng.random(len(rows)) < options.grey))
        luminance = pixels.mean(1, keepdim=True).expand_as(pixels)
        pixels = torch.where(greyed.to(device)[:, None, None, None], luminance, pixels)
        caption = np.where(rng.random(len(rows)) < options.stable, STABLE, rng.integers(STABLE, size=len(rows)))
        tokens = torch.where(greyed[:, None], corpus.grey_tokens[rows, caption], corpus.tokens[rows, caption])
        hidden = greyed | torch.from_numpy(corpus.infrared[rows])
        yield pixels.contiguous(memory_format=torch.channels_last), tokens.to(device), hidden, torch.from_numpy(rows)


def jitter(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """A random gain of each image and a smaller one of each channel, as cameras differ."""
    gain = torch.empty(len(pixels), 1, 1, 1).uniform_(0.8, 1.2, generator=generator)
    cast = torch.empty(len(pixels), 3, 1, 1).uniform_(0.95, 1.05, generator=generator)
    return (pixels * (gain * cast).to(pixels.device)).clamp(0, 1)


def contrastive(images: Tensor, texts: Tensor, logit_scale: Tensor) -> Tensor:
    """CLIP's symmetric cross-entropy; row i of both belongs together."""
    logits = logit_scale.clamp(max=math.log(100)).exp() * normalize(images, dim=1) @ normalize(texts, dim=1).T
    own = torch.arange(len(logits), device=logits.device)
    return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2


def prompt_logits(clip: Clip, projected: Tensor, prompts: dict[str, Tensor]) -> dict[str, Tensor]:
    """For each attribute the scaled cosines [B, classes] of projected images [B, E] and the texts of its classes."""
    tokens = torch.cat(list(prompts.values())).to(projected.device)
    cosines = normalize(projected, dim=1) @ normalize(clip.text(tokens), dim=1).T
    logits = clip.logit_scale.clamp(max=math.log(100)).exp() * cosines
    return dict(zip(prompts, logits.split([len(texts) for texts in prompts.values()], dim=1), strict=True))


def attribute_loss(logits: dict[str, Tensor], corpus: Corpus, rows: Tensor, hidden: Tensor) -> Tensor:
    """Sum of the attributes' cross-entropies; colours are asked only where they can be seen.

    Args:
        logits: [B, classes] of each attribute.
        corpus: its classes are the answers.
        rows: int64 [B], the images' rows in the corpus.
        hidden: bool [B], whether colours are hidden.
    """
    losses = []
    for name, answers in logits.items():
        kept = ~hidden if name in COLOUR_ATTRIBUTES else torch.ones_like(hidden)
        if kept.any():
            target = corpus.attributes[name][rows[kept]].to(answers.device)
            losses.append(cross_entropy(answers[kept.to(answers.device)], target))
    return torch.stack(losses).sum()


def _from_imagenet(name: str) -> bool:
    return name.startswith(("early.", "late."))
