"""A whole project in miniature: three scenarios, prepared tables, and a CLIP with random weights."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from itkm.config import Settings
from itkm.data.groups import GROUP_ORDER
from itkm.data.manifest import read_manifest
from itkm.data.shards import write_scenario
from itkm.data.training import split_tables
from itkm.models.clip import Clip, DemoConfig, build_demo, save_demo
from itkm.stages import cluster, extract, heterogeneous, homogeneous, prompts
from itkm.stages.layout import Layout

WORDS = ("a", "photo", "of", "person", "man", "woman")
CONFIG = DemoConfig(words=WORDS, text_width=32, text_layers=1, text_heads=2, projected_dim=16)
SCENARIOS = ("vi", "cc", "cr")
PERSONS, IMAGES = 8, 4
TOWER_SIZE = (48, 32)  # height, width


def make_clip() -> tuple[Clip, DemoConfig]:
    """A tiny CLIP whose image tower tells colours apart: random weights, statistics of noise images."""
    return copy.deepcopy(_clip()), CONFIG


@functools.cache
def _clip() -> Clip:
    torch.manual_seed(0)
    clip = build_demo(CONFIG)
    clip.train()
    with torch.no_grad():
        for _ in range(20):  # without statistics, a random network maps everything to one direction
            clip.encode_image(torch.rand(16, 3, 4, 2).repeat_interleave(8, 2).repeat_interleave(8, 3))
    return clip.eval()


def make_open_clip(kind: str) -> Any:
    """open_clip's own classes, small: `vit` for images of `TOWER_SIZE`, `rn` for 64x64."""
    return copy.deepcopy(_open_clip(kind))


@functools.cache
def _open_clip(kind: str) -> Any:
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP

    torch.manual_seed(0)
    if kind == "vit":
        vision = CLIPVisionCfg(layers=2, width=64, patch_size=16, image_size=TOWER_SIZE, block_type="custom")
    else:
        vision = CLIPVisionCfg(layers=(1, 1, 1, 1), width=16, image_size=64)
    text = CLIPTextCfg(context_length=77, vocab_size=49408, width=16, heads=2, layers=2)
    model = CustomTextCLIP(embed_dim=8, vision_cfg=vision, text_cfg=text).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bn3.weight"):
                parameter.fill_(1.0)  # zero as open_clip leaves it, a block would do nothing
        if kind == "rn":  # without statistics, a random network maps everything to one direction
            model.visual.train()
            for _ in range(20):
                model.encode_image(torch.randn(8, 3, 64, 64))
    return model.eval()


def make_project(root: Path, *, scenarios: tuple[str, ...] = SCENARIOS) -> Layout:
    """Writes data, prepared tables and weights below `root`."""
    layout = Layout(root)
    for number, scenario in enumerate(scenarios):
        write_scenario(_images(scenario, np.random.default_rng(number)), layout.data(scenario))
        prepare(layout, scenario)
    clip, config = make_clip()
    save_demo(clip, config, root / "models" / "demo")
    return layout


def prepare(layout: Layout, scenario: str) -> None:
    """What the stage `prepare` does, without its demands on the number of images."""
    train, evaluation = split_tables(read_manifest(layout.data(scenario)))
    layout.training_table(scenario).parent.mkdir(parents=True, exist_ok=True)
    layout.evaluation_table(scenario).parent.mkdir(parents=True, exist_ok=True)
    train.to_parquet(layout.training_table(scenario), index=False)
    evaluation.to_parquet(layout.evaluation_table(scenario), index=False)


def make_settings(root: Path, *, scenarios: tuple[str, ...] = SCENARIOS, **changes: Mapping[str, Any]) -> Settings:
    """Two epochs everywhere; `homogeneous={"epochs": 1}` changes one setting."""
    stage = {"epochs": 2, "identities": 4, "instances": 4, "learning_rate": 1e-3}
    sections: dict[str, dict[str, Any]] = {
        "model": {"weights": str(root / "models" / "demo"), "height": 32, "width": 16},
        "labelling": {"k1": 5, "k2": 2, "eps": 0.6, "min_samples": 2},
        "homogeneous": dict(stage),
        "prompts": {"epochs": 2, "batch": 32},
        "heterogeneous": {**stage, "instance_neighbours": 5},
    }
    for name, values in changes.items():
        sections[name] |= values
    return Settings.model_validate({"scenarios": list(scenarios), "device": "cpu", **sections})


def extract_and_cluster(settings: Settings, layout: Layout) -> None:
    """The two stages between Stages I and II, for all scenarios."""
    for scenario in settings.scenarios:
        extract.run(settings, layout, scenario)
        cluster.run(settings, layout, scenario)


def run_training(layout: Layout) -> None:
    """All training stages, inside the project's folder."""
    settings = make_settings(layout.root)
    with contextlib.chdir(layout.root):
        homogeneous.run(settings, layout)
        extract_and_cluster(settings, layout)
        prompts.run(settings, layout)
        heterogeneous.run(settings, layout)


def _images(scenario: str, rng: np.random.Generator) -> Iterator[tuple[dict[str, object], bytes]]:
    for person in range(1, PERSONS + 1):
        bands = rng.integers(0, 255, (4, 2, 3))
        for number, group in enumerate(GROUP_ORDER.get(scenario, ("day", "night"))):
            for image in range(IMAGES):
                pixels = np.clip(bands + rng.normal(0, 12, bands.shape) + 20 * number, 0, 255).astype(np.uint8)
                if group == "infrared":
                    pixels = np.repeat(pixels.mean(2, keepdims=True).astype(np.uint8), 3, axis=2)
                content = io.BytesIO()
                Image.fromarray(pixels).resize((16, 32), Image.Resampling.NEAREST).save(content, "PNG")
                yield (
                    {
                        "scenario": scenario,
                        "group": group,
                        "camera": f"{scenario}-{group}-c{image % 2}",
                        "split": "train",
                        "person": person,
                        "clothes": number,
                        "resolution": "16x32",
                        "timestamp": "",
                        "caption": "",
                        "source": f"train/{person:04d}_{group}_{image}.png",
                    },
                    content.getvalue(),
                )
