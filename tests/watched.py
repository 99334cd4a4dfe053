"""A training stage, watched step by step."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from torch import Tensor

from itkm.stages import homogeneous
from itkm.stages.layout import Layout
from itkm.training import extraction, groups
from itkm.training.extraction import to_pixels
from itkm.training.trainer import Trainer
from toy import make_settings


def digest(value: Any) -> str:
    """A hash of every bit of the tensors in nested dicts and lists."""
    total = hashlib.sha256()
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for own in values:
        total.update(digest(own).encode())
    if isinstance(value, Tensor):
        total.update(value.cpu().numpy().tobytes())
    return total.hexdigest()


def in_double_precision(patch: pytest.MonkeyPatch, stage: ModuleType) -> None:
    """A random network amplifies rounding; what is left in double precision is a difference of the method."""
    source = "build_encoder" if stage is homogeneous else "load_model"
    make = getattr(stage, source)

    def doubled(*arguments: Any) -> Any:
        encoder, *others = make(*arguments)
        return encoder.double(), *others

    patch.setattr(stage, source, doubled)
    for module in (groups, extraction):
        patch.setattr(module, "to_pixels", lambda images, device: to_pixels(images, device).double())


def watch(stage: ModuleType, layout: Layout, *, device: str = "cpu") -> tuple[list[float], list[str]]:
    """Runs a stage in this process; the loss of every step, and hashes of labels, memories and network after it."""
    losses: list[float] = []
    states: list[str] = []
    steps, step = stage.train_steps, Trainer.step

    def watched(trainer: Trainer, groups: Any, current: Any, *rest: Any, **named: Any) -> Iterator[int]:
        for number in steps(trainer, groups, current, *rest, **named):
            state = trainer.state()
            states.append(digest({"round": current.state(), "encoder": state["encoder"], "average": state["average"]}))
            yield number

    def noted(self: Trainer, loss: Tensor, **named: Any) -> None:
        losses.append(loss.item())
        step(self, loss, **named)

    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(layout.root):
        in_double_precision(patch, stage)
        patch.setattr(stage, "train_steps", watched)
        patch.setattr(Trainer, "step", noted)
        stage.run(make_settings(layout.root).model_copy(update={"device": device}), layout)
    return losses, states
