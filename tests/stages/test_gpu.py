"""Stages I and III on a GPU: the losses of a CPU, step by step, and batches that are made while it works."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from itkm.config import HomogeneousSettings
from itkm.models.clip import from_open_clip
from itkm.models.encoder import Encoder
from itkm.models.store import load_model
from itkm.stages import heterogeneous, homogeneous
from itkm.stages.inputs import load_scenarios
from itkm.stages.layout import Layout
from itkm.training.ahead import ahead
from itkm.training.extraction import extract, to_pixels
from itkm.training.groups import Step
from itkm.training.trainer import Trainer
from toy import TOWER_SIZE, make_open_clip, make_settings
from watched import watch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
GPU = torch.device("cuda:0")


@pytest.mark.parametrize("stage", [homogeneous, heterogeneous])
def test_a_gpu_learns_what_a_cpu_does(project: Layout, stage: ModuleType) -> None:
    expected, _ = watch(stage, project)
    losses, _ = watch(stage, project, device="cuda:0")
    assert len(losses) == 4
    assert losses[:2] == pytest.approx(expected[:2], rel=1e-5)
    assert losses == pytest.approx(expected, rel=2e-3)  # the second epoch starts with what Adam made of the rounding


def test_features_are_those_of_a_cpu_within_the_rounding_of_bf16(trained: Layout) -> None:
    encoder = load_model(trained.model)[0]
    images = load_scenarios(make_settings(trained.root), trained)[0]
    on_cpu, on_gpu = (
        extract(encoder.to(device), images.images, scenario=0, group=images.group, batch=5) for device in ("cpu", GPU)
    )
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        assert ours.device.type == "cpu"
        assert cosine_similarity(ours, theirs).min() > 0.98


def test_batches_made_ahead_are_neither_used_too_early_nor_written_over() -> None:
    """The device is kept so busy that every batch is asked for long before the one before was read."""
    slow = torch.rand(4096, 4096, device=GPU)
    sums = []
    for batch in ahead((torch.full((1 << 22,), float(number), device=GPU) for number in range(30)), GPU):
        slow = (slow @ slow).clamp(-1, 1)
        sums.append((batch.double() + 0 * slow[0, 0]).mean())
    assert torch.stack(sums).tolist() == list(range(30))


def test_what_goes_wrong_while_a_batch_is_made_is_raised_where_it_is_asked_for() -> None:
    made = ahead((torch.ones(wanted, device=GPU) for wanted in (1, -1)), GPU)
    assert next(made).item() == 1
    with pytest.raises(RuntimeError, match="negative"):
        next(made)


def test_a_compiled_trunk_learns_and_extracts_what_an_eager_one_does() -> None:
    """Step after step, and batches of several sizes: what its kernels write is read before they write there again."""
    (losses, features), (expected, others) = (learn_and_extract(compile=on) for on in (True, False))
    assert losses == pytest.approx(expected, abs=0.3)  # of a fall from 3.5 to -5.3, in bf16
    assert cosine_similarity(features, others).min() > 0.99


def learn_and_extract(**options: bool) -> tuple[list[float], Tensor]:
    """Losses of a small vit's steps, and features of 41 images, in batches of 16, from its average."""
    clip = from_open_clip(make_open_clip("vit"), scenario_tokens="all")
    torch.manual_seed(0)
    encoder = Encoder(clip.stem, clip.trunk, scenarios=["vi"], mean=clip.mean, std=clip.std)
    trainer = Trainer(encoder, HomogeneousSettings.model_validate({"averaging": 0.5, **options}), device=GPU)
    images = np.random.default_rng(0).integers(0, 256, (41, 3, *TOWER_SIZE), dtype=np.uint8)
    group, losses = np.arange(41) % 2, []
    for step in range(12):
        rows = (np.arange(32) + step) % 41
        places = torch.from_numpy(rows)
        batch = Step(to_pixels(images[rows], GPU), torch.zeros_like(places), torch.from_numpy(group[rows]), [places])
        trainer.train()
        (feature,), (projected,) = trainer.encode(batch)
        loss = feature.sin().sum() + projected.square().sum() - (projected @ projected.T).sum() / len(rows)
        trainer.step(loss, epoch=0, step=step, steps=12)
        losses.append(loss.item())
    return losses, extract(trainer.average.network, images, scenario=0, group=group, batch=16)[0]
