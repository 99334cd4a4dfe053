"""Mixed precision: bf16 where the device is a GPU, the same features within bf16's rounding, and fp32 outside."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cosine_similarity

from itkm.config import Settings
from itkm.data.training import TrainingImages
from itkm.models.encoder import Encoder
from itkm.training import extraction, trainer
from itkm.training.extraction import extract
from itkm.training.groups import Group
from itkm.training.runtime import mixed_precision
from itkm.training.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture
def bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU does, on this machine's CPU."""
    for module in (trainer, extraction):
        monkeypatch.setattr(module, "mixed_precision", lambda device: torch.autocast(device.type, dtype=torch.bfloat16))


def test_a_cpu_computes_in_fp32() -> None:
    with mixed_precision(CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_extraction_in_bf16_is_the_same_within_its_rounding(
    encoder: Encoder, scenarios: list[TrainingImages], request: pytest.FixtureRequest
) -> None:
    images = scenarios[0]
    exact = extract(encoder, images.images, scenario=0, group=images.group)
    request.getfixturevalue("bf16")
    rounded = extract(encoder, images.images, scenario=0, group=images.group)
    for ours, theirs in zip(rounded, exact, strict=True):
        assert ours.dtype == torch.float32
        assert not torch.equal(ours, theirs)
        assert cosine_similarity(ours, theirs).min() > 0.99


def test_a_step_in_bf16_reaches_every_parameter(encoder: Encoder, groups: list[Group], bf16: None) -> None:
    options = Settings.model_validate({"scenarios": ["vi", "own"]}).homogeneous
    options = options.model_copy(update={"identities": 4, "instances": 2})
    training = Trainer(encoder, options, device=CPU)
    labels = [torch.arange(len(group.rows)).numpy() % 4 for group in groups]
    steps, batches = training.batches(groups, labels, seed=(0,))
    training.train()
    features, projected = training.encode(next(batches))
    assert {part.dtype for part in (*features, *projected)} == {torch.float32}
    loss = sum(part[:, 0].sum() for part in (*features, *projected))
    assert isinstance(loss, torch.Tensor)
    training.step(loss, epoch=0, step=0, steps=steps)
    missing = [name for name, p in encoder.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []
    assert all(p.dtype == torch.float32 for p in encoder.parameters())
