"""What changes how a transformer's blocks are computed, and must not change what they compute."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from itkm.config import HomogeneousSettings
from itkm.errors import InputError
from itkm.models.clip import from_open_clip
from itkm.models.encoder import Encoder
from itkm.training.trainer import Trainer
from toy import TOWER_SIZE, make_open_clip

CPU = torch.device("cpu")
SCENARIO, GROUP = torch.tensor([0, 0, 0, 0]), torch.tensor([0, 1, 0, 1])


def make_vit() -> Encoder:
    clip = from_open_clip(make_open_clip("vit"), scenario_tokens="all")
    torch.manual_seed(0)
    return Encoder(clip.stem, clip.trunk, scenarios=["vi"], mean=clip.mean, std=clip.std)


def train_step(**options: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """The features of a batch, and the gradients of a loss over them."""
    trainer = Trainer(make_vit(), HomogeneousSettings.model_validate(options), device=CPU)
    trainer.train()
    images = torch.rand(4, 3, *TOWER_SIZE, generator=torch.Generator().manual_seed(1))
    feature, projected = trainer.encoder(images, SCENARIO, GROUP)
    (feature.sin().sum() + projected.square().sum()).backward()
    gradients = {name: own.grad for name, own in trainer.encoder.named_parameters() if own.grad is not None}
    return feature.detach(), gradients


def test_gradient_checkpointing_gives_the_same_bits_and_runs_every_block_again(monkeypatch: pytest.MonkeyPatch) -> None:
    feature, gradients = train_step()
    called = []

    def counted(*arguments: object, **options: object) -> object:
        called.append(arguments[0])
        return checkpoint(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("itkm.models.towers.checkpoint", counted)
    again, others = train_step(gradient_checkpointing=True)
    assert len(called) == 2  # blocks
    assert torch.equal(again, feature)
    assert others.keys() == gradients.keys()
    assert all(torch.equal(others[name], own) for name, own in gradients.items())


@pytest.mark.slow
def test_a_compiled_trunk_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a compiler's own code, which needs one on the machine: dynamo and autograd see every operation."""
    feature, gradients = train_step()
    compiled = []
    whole = torch.compile

    def eager(function: object, **_: object) -> object:
        compiled.append(function)
        return whole(function, backend="aot_eager")  # type: ignore[call-overload]

    monkeypatch.setattr(torch, "compile", eager)
    again, others = train_step(compile=True)
    assert len(compiled) == 2  # the trunks of the network and of its average
    assert torch.allclose(again, feature, atol=1e-5)
    assert all(torch.allclose(others[name], own, rtol=1e-3, atol=1e-5) for name, own in gradients.items())


@pytest.mark.parametrize("option", ["gradient_checkpointing", "compile"])
def test_a_tower_without_blocks_is_refused(encoder: Encoder, option: str) -> None:
    with pytest.raises(InputError, match=r"the tower of model.name has none.*choose a vit"):
        Trainer(encoder, HomogeneousSettings.model_validate({option: True}), device=CPU)


def test_attention_is_fused_while_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """open_clip's blocks call torch's scaled_dot_product_attention, and ask for no weights."""
    fused = functional.scaled_dot_product_attention
    calls = []

    def counted(query: Tensor, *rest: Tensor, **options: object) -> Tensor:
        calls.append(query.requires_grad)
        return fused(query, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(functional, "scaled_dot_product_attention", counted)
    train_step()
    assert calls == [True, True]


def test_text_tower_and_frozen_clip_have_the_same_bits_after_training() -> None:
    """The encoder takes a CLIP's tower apart; another CLIP of the same weights must not move with it."""
    frozen = from_open_clip(make_open_clip("vit"), scenario_tokens="all").eval().requires_grad_(False)
    before = copy.deepcopy(frozen.state_dict())
    trained = from_open_clip(make_open_clip("vit"), scenario_tokens="all")
    text = copy.deepcopy(trained.text.state_dict())
    encoder = Encoder(trained.stem, trained.trunk, scenarios=["vi"], mean=trained.mean, std=trained.std)
    trainer = Trainer(encoder, HomogeneousSettings(), device=CPU)
    trainer.train()
    images = torch.rand(4, 3, *TOWER_SIZE)
    start = encoder.trunk.state_dict()["proj"].clone()
    for step in range(3):
        feature, projected = trainer.encoder(images, SCENARIO, GROUP)
        trainer.step(feature.sin().sum() + projected.square().sum(), epoch=0, step=step, steps=3)
    assert not torch.equal(encoder.trunk.state_dict()["proj"], start)
    assert all(torch.equal(own, before[name]) for name, own in frozen.state_dict().items())
    assert all(torch.equal(own, text[name]) for name, own in trained.text.state_dict().items())
