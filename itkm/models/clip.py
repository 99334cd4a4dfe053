"""A whole CLIP, from open_clip or the shipped demo: loaded from local files only, both towers and the tokenizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from itkm.errors import InputError
from itkm.files import write_bytes, write_json
from itkm.models.settings import ModelSettings
from itkm.models.text import TextEncoder
from itkm.models.tokenizer import WordTokenizer
from itkm.models.torchvision_schemas import ensure_torchvision
from itkm.models.towers import (
    PatchStem,
    ResNetTrunk,
    ScenarioTokens,
    TransformerTrunk,
    Trunk,
    build_part_tower,
    resize_attention_pool,
    resnet_grid,
    split_resnet_stem,
)

OPEN_CLIP_NAMES = {
    "vit-b-16": "ViT-B-16",
    "vit-b-16-quickgelu": "ViT-B-16-quickgelu",
    "rn50": "RN50",
    "rn50-quickgelu": "RN50-quickgelu",
}
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


class DemoConfig(BaseModel):
    """`config.json` of the tiny CLIP: everything that its weights do not say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    words: tuple[str, ...]
    context_length: int = 40
    text_width: int = 128
    text_layers: int = 2
    text_heads: int = 4
    projected_dim: int = 256
    parts: int = 3
    mean: tuple[float, float, float] = (127 / 255, 127 / 255, 127 / 255)
    std: tuple[float, float, float] = (128 / 255, 128 / 255, 128 / 255)


class Clip(nn.Module):
    """Image tower (stem and trunk), text tower and logit scale of one CLIP.

    `mean` and `std` are those of the pixels it was trained on, for RGB in [0, 1].
    """

    def __init__(
        self,
        stem: nn.Module,
        trunk: Trunk,
        text: TextEncoder,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        logit_scale: float,
    ) -> None:
        super().__init__()
        self.stem, self.trunk, self.text = stem, trunk, text
        self.mean, self.std = tuple(mean), tuple(std)
        self.logit_scale = nn.Parameter(torch.tensor(logit_scale))

    def encode_image(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled feature [B, D] and projection [B, E] of RGB images in [0, 1], without ITKM's additions."""
        mean = images.new_tensor(self.mean).view(1, 3, 1, 1)
        std = images.new_tensor(self.std).view(1, 3, 1, 1)
        x = self.stem((images - mean) / std)
        features: tuple[Tensor, Tensor] = self.trunk(x, x.new_zeros(len(x), self.trunk.stem_width))
        return features


def build_demo(config: DemoConfig) -> Clip:
    """The tiny CLIP with random weights."""
    ensure_torchvision()
    from open_clip.transformer import TextTransformer

    tokenizer = WordTokenizer(config.words, context_length=config.context_length)
    transformer = TextTransformer(
        context_length=config.context_length,
        vocab_size=tokenizer.vocab_size,
        width=config.text_width,
        heads=config.text_heads,
        layers=config.text_layers,
        output_dim=config.projected_dim,
    )
    stem, trunk = build_part_tower(parts=config.parts, projected_dim=config.projected_dim)
    text = TextEncoder(transformer, tokenizer)
    return Clip(stem, trunk, text, mean=config.mean, std=config.std, logit_scale=2.66)


def save_demo(clip: Clip, config: DemoConfig, folder: Path) -> None:
    """Writes `config.json` and `model.safetensors` (half precision: the file travels with the repository)."""
    state = {name: value.half() if value.is_floating_point() else value for name, value in clip.state_dict().items()}
    write_bytes(folder / "model.safetensors", save({name: value.contiguous() for name, value in state.items()}))
    write_json(folder / "config.json", config.model_dump(mode="json"))


def read_demo_config(folder: Path) -> DemoConfig:
    """The demo's `config.json`, checked."""
    path = folder / "config.json"
    try:
        return DemoConfig.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: not found. `dvc pull` fetches the demo's weights; `itkm pretrain` makes them."
        ) from error
    except ValidationError as error:
        raise InputError(
            f"{path}: not a demo configuration: {error}. Fetch it again with `dvc pull --force`."
        ) from error


def load_weights(module: nn.Module, path: Path) -> None:
    """Loads safetensors into a module, all keys and shapes exact.

    Raises:
        InputError: the file is missing, damaged, or of another architecture.
    """
    try:
        state = load_file(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: not found. Fetch it with `dvc pull`, or give another path.") from error
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error}). Fetch or export it again.") from error
    own = module.state_dict()
    wrong = sorted(set(own) ^ set(state)) or sorted(name for name in own if own[name].shape != state[name].shape)
    if wrong:
        raise InputError(
            f"{path}: weights of another architecture: {len(wrong)} of {len(own)} tensors differ, the first is "
            f"{wrong[0]!r}. Set `model.name` in params.yaml to the architecture that these weights were trained with."
        )
    module.load_state_dict({name: value.to(own[name].dtype) for name, value in state.items()})


def load_clip(settings: ModelSettings) -> Clip:
    """The CLIP that `settings` name, with its weights, from local files.

    Raises:
        InputError: no such weights, or weights of another architecture.
    """
    source = Path(settings.weights)
    if settings.name == "demo":
        clip = build_demo(read_demo_config(source))
        load_weights(clip, source / "model.safetensors")
        return clip
    if not settings.weights or not source.exists():
        raise InputError(
            f"model.weights: {settings.weights!r} does not exist. Nothing is downloaded at run time: save the CLIP "
            "checkpoint (.pt, .safetensors or an open_clip folder) on this machine and give its path in params.yaml."
        )
    return build_open_clip(settings, source)


def build_open_clip(settings: ModelSettings, source: Path | None) -> Clip:
    """One of open_clip's CLIPs at the wanted image size; random weights without a `source`."""
    ensure_torchvision()
    import open_clip

    name = OPEN_CLIP_NAMES[settings.name]
    size = (settings.height, settings.width)
    options: dict[str, Any] = {"force_custom_text": True}
    grid = None
    if settings.name.startswith("rn50"):
        grid = resnet_grid(*size)
        if 0 in grid:
            raise InputError(
                f"model: {settings.name} needs images of at least 32x32 pixels, found {size[1]}x{size[0]}. Raise "
                "`model.width` or `model.height` in params.yaml."
            )
    else:
        # Blocks of the same weights whose queries, keys and values go to the fused attention uncopied.
        own = {"image_size": size, "block_type": "custom"}
        options["vision_cfg"] = {**open_clip.get_model_config(name)["vision_cfg"], **own}
    model: Any = open_clip.create_model(name, **options) if source is None else _load_open_clip(name, source, options)
    if grid is not None:
        resize_attention_pool(model.visual.attnpool, grid)
    return from_open_clip(model, scenario_tokens=settings.scenario_tokens)


def _load_open_clip(name: str, source: Path, options: dict[str, Any]) -> nn.Module:
    import open_clip

    model: nn.Module
    try:
        if source.is_dir():
            _require_named_architecture(source, open_clip.get_model_config(name))
            model = open_clip.create_model(f"local-dir:{source}", require_pretrained=True, **options)
        else:  # absolute, as a bare name may be one that open_clip would download
            model = open_clip.create_model(name, pretrained=str(source.absolute()), **options)
    except Exception as error:  # a foreign file can make the loaders raise anything; all of it means the same
        reason = (str(error) or repr(error)).splitlines()[0][:200]
        raise InputError(
            f"{source}: cannot be loaded as {name} ({reason}). Give weights of this architecture, or change "
            "`model.name` in params.yaml."
        ) from error
    return model


def _require_named_architecture(folder: Path, wanted: dict[str, Any]) -> None:
    """An open_clip folder brings its own configuration: it has to be that of the name in params.yaml."""
    found = json.loads((folder / "open_clip_config.json").read_bytes())["model_cfg"]
    for section, keys in (("vision_cfg", ("layers", "width", "patch_size")), ("text_cfg", ("layers", "width"))):
        for key in keys:
            if found[section].get(key) != wanted[section].get(key):
                raise ValueError(
                    f"{section}.{key} is {found[section].get(key)} in open_clip_config.json, expected "
                    f"{wanted[section].get(key)}"
                )
    if bool(found.get("quick_gelu")) != bool(wanted.get("quick_gelu")):
        raise ValueError(f"quick_gelu is {bool(found.get('quick_gelu'))} in open_clip_config.json")


def from_open_clip(model: Any, *, scenario_tokens: ScenarioTokens) -> Clip:
    """Takes an open_clip model with a custom text tower apart, into ours; the parameters are shared."""
    from open_clip.tokenizer import SimpleTokenizer

    visual = model.visual
    stem: nn.Module
    trunk: Trunk
    if hasattr(visual, "class_embedding"):
        stem, trunk = PatchStem(visual.conv1), TransformerTrunk(visual, scenario_tokens=scenario_tokens)
    else:
        stem, trunk = split_resnet_stem(visual), ResNetTrunk(visual)
    tokenizer = SimpleTokenizer(context_length=model.text.context_length)
    mean, std = getattr(visual, "image_mean", None) or OPENAI_MEAN, getattr(visual, "image_std", None) or OPENAI_STD
    text = TextEncoder(model.text, tokenizer)
    return Clip(stem, trunk, text, mean=mean, std=std, logit_scale=float(model.logit_scale.detach()))
