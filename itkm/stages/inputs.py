"""What several training stages read: the groups, and the fingerprint that a resumed run must match."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from itkm.config import Settings
from itkm.data.training import TrainingImages, load_training
from itkm.stages.layout import Layout
from itkm.training.checkpoint import Checkpoint
from itkm.training.groups import Group, split_groups


def load_scenarios(settings: Settings, layout: Layout) -> list[TrainingImages]:
    """The training images of all scenarios, decoded at the model's size; no identity among them."""
    return [
        load_training(
            layout.training_table(scenario),
            layout.data(scenario),
            height=settings.model.height,
            width=settings.model.width,
        )
        for scenario in settings.scenarios
    ]


def load_groups(settings: Settings, layout: Layout) -> tuple[list[TrainingImages], list[Group]]:
    """The scenarios and their groups. The groups alone hold images [N, 3, H, W], the scenarios none: once is enough."""
    scenarios = load_scenarios(settings, layout)
    groups = split_groups(scenarios)
    return [replace(training, images=training.images[:0].copy()) for training in scenarios], groups


def open_checkpoint(
    stage: str, settings: Settings, sections: tuple[str, ...], layout: Layout, inputs: list[Path]
) -> Checkpoint:
    """The checkpoint of a stage: of the settings it reads, tables, images, the weights, further inputs and the code."""
    chosen: dict[str, Any] = {name: settings.model_dump(mode="json")[name] for name in sections}
    tables = [layout.training_table(scenario) for scenario in settings.scenarios]
    weights = Path(settings.model.weights)
    files = sorted(path for path in weights.rglob("*") if path.is_file()) if weights.is_dir() else [weights]
    shards = [path for scenario in settings.scenarios for path in sorted(layout.data(scenario).rglob("*.tar"))]
    return Checkpoint(stage, settings=chosen, inputs=[*tables, *shards, *files, *inputs])
