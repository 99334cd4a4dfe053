"""Models on disk: weights in safetensors, and a `config.json` with all that is needed to load them, no other file."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import save
from torch import nn

from itkm.errors import InputError
from itkm.files import write_bytes
from itkm.models.clip import Clip, DemoConfig, build_demo, build_open_clip, load_clip, load_weights, read_demo_config
from itkm.models.encoder import Encoder
from itkm.models.settings import ModelSettings


class ModelCard(BaseModel):
    """`config.json` of a trained model.

    Attributes:
        model: architecture and image size.
        demo: the tiny CLIP's own configuration, None for open_clip's architectures.
        scenarios: their names and the names of their groups 0 and 1, in the order that numbers them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ModelSettings
    demo: DemoConfig | None
    scenarios: dict[str, tuple[str, str]]


def build_encoder(settings: ModelSettings, scenarios: tuple[str, ...]) -> tuple[Encoder, Clip]:
    """The encoder before any training on top of a CLIP's weights, and the frozen CLIP that it was copied from.

    Both are independent: training the encoder leaves the CLIP as it is.
    """
    clip = load_clip(settings)
    frozen = copy.deepcopy(clip).eval().requires_grad_(False)
    return _encoder_over(clip, settings, scenarios), frozen


def make_card(settings: ModelSettings, groups: dict[str, tuple[str, str]]) -> ModelCard:
    """The card of a model trained with these settings."""
    demo = read_demo_config(Path(settings.weights)) if settings.name == "demo" else None
    return ModelCard(model=settings, demo=demo, scenarios=groups)


def save_model(encoder: Encoder, clip: Clip, card: ModelCard, folder: Path) -> None:
    """Writes the encoder, the text tower and the card."""
    state = _Whole(encoder, clip).state_dict()
    write_bytes(folder / "model.safetensors", save({name: value.contiguous() for name, value in state.items()}))
    # Not sorted: the order of the scenarios numbers them.
    write_bytes(folder / "config.json", (card.model_dump_json(indent=2) + "\n").encode())


def load_model(folder: Path) -> tuple[Encoder, Clip, ModelCard]:
    """A trained encoder, the CLIP whose text tower belongs to it, and its card; nothing but `folder` is read.

    Raises:
        InputError: files missing, damaged, or not belonging together.
    """
    path = folder / "config.json"
    try:
        card = ModelCard.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path}: not found. Train a model with `dvc repro`, or give a model's folder.") from error
    except ValidationError as error:
        raise InputError(f"{path}: not a model of ours: {error}. Train it again with `dvc repro`.") from error
    clip = build_demo(card.demo) if card.demo else build_open_clip(card.model, None)
    encoder = _encoder_over(clip, card.model, tuple(card.scenarios))
    load_weights(_Whole(encoder, clip), folder / "model.safetensors")
    return encoder.eval(), clip.eval(), card


class _Whole(nn.Module):
    """What the weights file holds: the encoder, and the text tower with its logit scale."""

    def __init__(self, encoder: Encoder, clip: Clip) -> None:
        super().__init__()
        self.encoder, self.text = encoder, clip.text
        self.logit_scale = clip.logit_scale


def _encoder_over(clip: Clip, settings: ModelSettings, scenarios: tuple[str, ...]) -> Encoder:
    encoder = Encoder(
        clip.stem,
        clip.trunk,
        scenarios=scenarios,
        mean=clip.mean,
        std=clip.std,
        branches=settings.branches,
        scenario_scale=settings.scenario_scale,
    )
    nn.Module.to(encoder, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return encoder
