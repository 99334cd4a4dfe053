"""Between Stages I and II: features of the training images by the adapted encoder and by the frozen CLIP."""

from __future__ import annotations

import logging

from itkm.config import Settings
from itkm.data.training import load_training
from itkm.files import write_npz
from itkm.models.clip import load_clip
from itkm.models.store import load_model
from itkm.stages.layout import Layout
from itkm.training.extraction import extract, extract_frozen
from itkm.training.runtime import resolve_device

logger = logging.getLogger(__name__)


def run(settings: Settings, layout: Layout, scenario: str) -> None:
    """Writes `artifacts/features/<scenario>.npz`: `features` [N, D], `frozen` [N, E], `group`, `camera`, `path`."""
    device = resolve_device(settings.device)
    model = settings.model
    training = load_training(
        layout.training_table(scenario), layout.data(scenario), height=model.height, width=model.width
    )
    encoder, _, card = load_model(layout.homogeneous)
    number = list(card.scenarios).index(scenario)
    features, _ = extract(encoder.to(device), training.images, scenario=number, group=training.group)
    frozen = extract_frozen(load_clip(model).to(device), training.images)
    write_npz(
        layout.features(scenario),
        {
            "features": features.numpy(),
            "frozen": frozen.numpy(),
            "group": training.group,
            "camera": training.camera,
            "path": training.paths,
        },
    )
    logger.info("extract %s: %d images, features %s, frozen %s", scenario, *features.shape, frozen.shape[1])
