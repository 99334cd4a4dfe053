from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from itkm.models.clip import Clip
from itkm.models.encoder import Branches, Encoder

SCENARIO = torch.tensor([0, 1, 2, 0, 1, 2])
GROUP = torch.tensor([1, 0, 0, 0, 1, 1])


def make_encoder(clip: Clip, *, scenarios: int = 3, **options: Any) -> Encoder:
    names = [f"s{number}" for number in range(scenarios)]
    return Encoder(clip.stem, clip.trunk, scenarios=names, mean=clip.mean, std=clip.std, **options).eval()


def separate(encoder: Encoder) -> None:
    """Makes every branch differ from every other."""
    torch.manual_seed(5)
    for stem in encoder.stems:
        for parameter in stem.parameters():
            nn.init.normal_(parameter, std=0.2)


def test_without_its_additions_the_encoder_is_the_clip_tower(clip: Clip, images: Tensor) -> None:
    """Equal branches, zero scenario embedding and a fresh neck leave CLIP's output."""
    encoder = make_encoder(clip)
    nn.init.zeros_(encoder.scenario_embedding)
    with torch.no_grad():
        feature, projected = encoder(images, SCENARIO, GROUP)
        expected, expected_projected = clip.encode_image(images)
    assert torch.allclose(feature * (1 + encoder.neck.eps) ** 0.5, expected, rtol=1e-4, atol=1e-4)
    assert torch.allclose(projected, expected_projected, rtol=1e-4, atol=1e-5)
    assert feature.shape == (6, clip.trunk.feature_dim)
    assert projected.shape == (6, clip.trunk.projected_dim)


def test_group_chooses_the_branch_once_the_branches_differ(clip: Clip, images: Tensor) -> None:
    encoder = make_encoder(clip)
    with torch.no_grad():
        assert torch.equal(encoder(images, SCENARIO, GROUP)[1], encoder(images, SCENARIO, 1 - GROUP)[1])
        separate(encoder)
        swapped = encoder(images, SCENARIO, 1 - GROUP)[1]
        assert ((encoder(images, SCENARIO, GROUP)[1] - swapped).abs().amax(1) > 1e-4).all()


@pytest.mark.parametrize("branches", ["shared", "per-scenario", "single"])
def test_a_mixed_batch_gives_each_image_what_it_gets_alone(clip: Clip, images: Tensor, branches: Branches) -> None:
    encoder = make_encoder(clip, branches=branches)
    separate(encoder)
    with torch.no_grad():
        together = encoder(images, SCENARIO, GROUP)
        for row in range(len(images)):
            alone = encoder(images[row : row + 1], SCENARIO[row : row + 1], GROUP[row : row + 1])
            assert torch.allclose(together[0][row], alone[0][0], rtol=1e-4, atol=1e-4)
            assert torch.allclose(together[1][row], alone[1][0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("branches", "copies"), [("single", 1), ("shared", 2), ("per-scenario", 8)])
def test_number_of_branches(clip: Clip, images: Tensor, branches: Branches, copies: int) -> None:
    encoder = make_encoder(clip, scenarios=4, branches=branches)
    separate(encoder)
    assert len(encoder.stems) == copies
    nn.init.zeros_(encoder.scenario_embedding)
    image = images[:1].expand(8, -1, -1, -1)
    with torch.no_grad():
        projected = encoder(image, torch.arange(4).repeat(2), torch.arange(2).repeat_interleave(4))[1]
    assert len(projected.mul(1e3).round().unique(dim=0)) == copies


@pytest.mark.parametrize("scenarios", [1, 2, 5])
def test_any_number_of_scenarios_with_an_embedding_each(clip: Clip, images: Tensor, scenarios: int) -> None:
    encoder = make_encoder(clip, scenarios=scenarios)
    nn.init.normal_(encoder.scenario_embedding)
    image, zeros = images[:1].expand(scenarios, -1, -1, -1), torch.zeros(scenarios, dtype=torch.long)
    with torch.no_grad():
        projected = encoder(image, torch.arange(scenarios), zeros)[1]
    assert len(projected.mul(1e4).round().unique(dim=0)) == scenarios


def test_scale_zero_switches_the_scenario_embedding_off(clip: Clip, images: Tensor) -> None:
    encoder = make_encoder(clip, scenario_scale=0.0)
    nn.init.normal_(encoder.scenario_embedding)
    with torch.no_grad():
        assert torch.equal(encoder(images, SCENARIO, GROUP)[1], encoder(images, SCENARIO * 0, GROUP)[1])


def test_gradients_reach_stems_embedding_trunk_and_neck(clip: Clip, images: Tensor) -> None:
    encoder = make_encoder(clip).train()
    feature, projected = encoder(images, SCENARIO, GROUP)
    (feature.square().sum() + projected.square().sum()).backward()
    without = {name for name, own in encoder.named_parameters() if own.grad is None or not own.grad.abs().sum() > 0}
    # A bias that is followed by batch statistics or a softmax has no effect; nothing else may be without a gradient.
    assert {name for name in without if not name.endswith(("neck.bias", "k_proj.bias", "in_proj_bias"))} == set()
    assert not encoder.neck.bias.requires_grad


def test_gradient_of_a_group_reaches_its_own_branch_alone(clip: Clip, images: Tensor) -> None:
    encoder = make_encoder(clip)  # in evaluation mode: batch statistics of the shared trunk would mix the groups
    encoder(images, SCENARIO, GROUP)[1][GROUP == 1].square().sum().backward()
    sums = [
        sum(float(own.grad.abs().sum()) for own in stem.parameters() if own.grad is not None) for stem in encoder.stems
    ]
    assert sums[0] == 0
    assert sums[1] > 0


def test_training_the_encoder_leaves_the_stem_it_was_copied_from(clip: Clip, images: Tensor) -> None:
    before = copy.deepcopy(clip.stem.state_dict())
    encoder = make_encoder(clip).train()
    encoder(images, SCENARIO, GROUP)[0].square().sum().backward()
    torch.optim.SGD(encoder.parameters(), lr=1.0).step()
    after = clip.stem.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
