"""The gate: what the demo's CLIP must see in persons that it never saw, before anything is tuned on top of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import normalize

from itkm.config import Settings
from itkm.data.images import resize_array
from itkm.data.render.dataset import ATTRIBUTES, Captioned, prompt, render_fresh
from itkm.models.clip import Clip, load_clip
from itkm.training.extraction import to_pixels

FLOORS = {"pattern": 0.5, "bottoms": 0.5, "bag": 0.5, "top": 0.5, "hair": 0.4}
IDENTITIES = 500
NOTHING = ("none", "plain")  # values that a caption does not name, so that no prompt can ask for them


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of one attribute on fresh persons.

    Attributes:
        attribute, pixels: what is asked, of `visible`, `grey` or `infrared` images.
        head: share of right answers of the linear head.
        text: of the nearest text prompt, over the images whose value has one.
        chance: of the most frequent value for `head`; `text_chance` of a blind guess among the prompts.
        floor: what the gate demands, None where it only looks.
    """

    attribute: str
    pixels: str
    head: float
    text: float
    chance: float
    text_chance: float
    floor: float | None

    @property
    def passed(self) -> bool:
        """Whether both head and prompts reach the floor."""
        return self.floor is None or min(self.head, self.text) >= self.floor


def check_attributes(settings: Settings) -> list[Accuracy]:
    """Attribute accuracy of the shipped weights on fresh identities, visible, greyed and infrared."""
    folder = Path(settings.model.weights)
    clip = load_clip(settings.model).eval()
    heads = load_file(folder / "heads.safetensors")
    visible = render_fresh(settings.render, IDENTITIES, infrared=False)
    infrared = render_fresh(settings.render, IDENTITIES, infrared=True)
    results = []
    for pixels, persons in (("visible", visible), ("grey", visible), ("infrared", infrared)):
        images = resize_array(persons.images, height=settings.model.height, width=settings.model.width)
        if pixels == "grey":
            images = np.broadcast_to(images.mean(1, keepdims=True).astype(np.uint8), images.shape).copy()
        feature, projected = encode(clip, images)
        for attribute in FLOORS:
            floor = None if pixels == "infrared" else FLOORS[attribute]
            results.append(_measure(clip, heads, persons, attribute, pixels, feature, projected, floor=floor))
    return results


@torch.no_grad()
def encode(clip: Clip, images: np.ndarray, *, batch: int = 128) -> tuple[Tensor, Tensor]:
    """Pooled features [N, D] and unit projections [N, E] of images uint8 [N, 3, H, W]."""
    parts = [
        clip.encode_image(to_pixels(images[start : start + batch], torch.device("cpu")))
        for start in range(0, len(images), batch)
    ]
    return torch.cat([part[0] for part in parts]), normalize(torch.cat([part[1] for part in parts]), dim=1)


@torch.no_grad()
def _measure(
    clip: Clip,
    heads: dict[str, Tensor],
    persons: Captioned,
    attribute: str,
    pixels: str,
    feature: Tensor,
    projected: Tensor,
    *,
    floor: float | None,
) -> Accuracy:
    values = ATTRIBUTES[attribute]
    truth = np.array([values.index(value) for value in persons.attributes[attribute]])
    weight, bias = (heads[f"{attribute}.{part}"].float() for part in ("weight", "bias"))
    answer = (feature @ weight.T + bias).argmax(1).numpy()
    askable = [number for number, value in enumerate(values) if value not in NOTHING]
    texts = normalize(clip.text.encode(_prompts(attribute, [values[n] for n in askable], pixels)), dim=1)
    named = np.isin(truth, askable)
    nearest = np.array(askable)[(projected @ texts.T).argmax(1).numpy()]
    return Accuracy(
        attribute=attribute,
        pixels=pixels,
        head=float((answer == truth).mean()),
        text=float((nearest == truth)[named].mean()),
        chance=float(np.bincount(truth).max() / len(truth)),
        text_chance=1 / len(askable),
        floor=floor,
    )


def _prompts(attribute: str, values: Sequence[str], pixels: str) -> list[str]:
    return [prompt(attribute, value, infrared=pixels == "infrared") for value in values]
