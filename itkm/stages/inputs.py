"""What several training stages read: the groups, and the fingerprint that a resumed run must match."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from itkm.config import Settings
from itkm.data.training import TrainingImages, load_training
from itkm.stages.layout import Layout
from itkm.training.checkpoint import Checkpoint


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
