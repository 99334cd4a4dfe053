"""Stages I and III on a GPU: the losses of a CPU, step by step, and batches that are made while it works."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch.nn.functional import cosine_similarity

from itkm.models.store import load_model
from itkm.stages import heterogeneous, homogeneous
from itkm.stages.inputs import load_scenarios
from itkm.stages.layout import Layout
from itkm.training.ahead import ahead
from itkm.training.extraction import extract
from toy import make_settings
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
