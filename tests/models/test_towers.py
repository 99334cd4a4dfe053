from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from itkm.models.clip import build_demo, from_open_clip
from itkm.models.towers import TransformerTrunk, build_part_tower, resize_attention_pool, resnet_grid
from toy import CONFIG, TOWER_SIZE, make_open_clip


@pytest.mark.parametrize("kind", ["vit", "rn"])
def test_image_tower_equals_open_clips_own(kind: str, images: Tensor) -> None:
    model = make_open_clip(kind)
    clip = from_open_clip(model, scenario_tokens="all").eval()
    mean, std = torch.tensor(clip.mean).view(3, 1, 1), torch.tensor(clip.std).view(3, 1, 1)
    with torch.no_grad():
        expected = model.encode_image((images - mean) / std)
        assert torch.allclose(clip.encode_image(images)[1], expected, rtol=1e-5, atol=1e-6)
    assert expected.std(0).max() > 1e-3


@pytest.mark.parametrize("kind", ["vit", "rn"])
def test_text_tower_equals_open_clips_own(kind: str) -> None:
    from open_clip.tokenizer import SimpleTokenizer

    model = make_open_clip(kind)
    clip = from_open_clip(model, scenario_tokens="all").eval()
    texts = ["A photo of a person.", "a man with a red hat, who walks"]
    with torch.no_grad():
        expected = model.encode_text(SimpleTokenizer()(texts))
        assert torch.allclose(clip.text.encode(texts), expected, rtol=1e-5, atol=1e-6)


def test_class_token_alone_can_carry_the_scenario() -> None:
    """`all` shifts every token, `class` the first one: the difference starts before the first block."""
    visual = make_open_clip("vit").visual
    seen: list[Tensor] = []
    visual.ln_pre.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    maps, embedding = visual.conv1(torch.rand(2, 3, *TOWER_SIZE)), torch.ones(2, 64)
    for tokens, mode in ((0, "all"), (1, "class")):
        trunk = TransformerTrunk(visual, scenario_tokens=mode)  # type: ignore[arg-type]
        trunk(maps, 0 * embedding)
        trunk(maps, embedding)
        shift = seen[2 * tokens + 1] - seen[2 * tokens]
        assert torch.allclose(shift[:, 0], torch.ones(2, 64))
        assert torch.allclose(shift[:, 1:], torch.full((2, 6, 64), float(mode == "all")))


@pytest.mark.parametrize("size", [(64, 64), (128, 64), (96, 48), (37, 71)])
def test_attention_pool_fits_maps_that_are_not_square(size: tuple[int, int]) -> None:
    model = make_open_clip("rn")
    before = model.visual.attnpool.positional_embedding.detach().clone()
    grid = resnet_grid(*size)
    resize_attention_pool(model.visual.attnpool, grid)
    after = model.visual.attnpool.positional_embedding
    clip = from_open_clip(model, scenario_tokens="all").eval()
    feature, projected = clip.encode_image(torch.rand(2, 3, *size))
    assert (feature.shape, projected.shape) == ((2, 512), (2, 8))
    assert torch.equal(after[0], before[0])
    assert after.shape == (1 + grid[0] * grid[1], 512)
    assert torch.equal(after, before) == (grid == (2, 2))


def test_attention_pool_keeps_what_is_where() -> None:
    """A position embedding that grows downwards still does after it is resized."""
    pool = make_open_clip("rn").visual.attnpool
    rows = torch.tensor([0.0, 1.0]).repeat_interleave(2)[:, None].expand(-1, 512)
    pool.positional_embedding = nn.Parameter(torch.cat([torch.zeros(1, 512), rows]))
    resize_attention_pool(pool, (4, 1))
    positions = pool.positional_embedding[1:, 0]
    assert (positions.diff() > 0).all()


@pytest.mark.parametrize("size", [(32, 16), (96, 48), (50, 30), (128, 64)])
def test_part_tower_takes_any_size(size: tuple[int, int]) -> None:
    stem, trunk = build_part_tower(parts=3, projected_dim=10)
    trunk.eval()
    maps = stem.eval()(torch.rand(2, 3, *size))
    feature, projected = trunk(maps, maps.new_zeros(2, trunk.stem_width))
    assert feature.shape == (2, trunk.feature_dim)
    assert projected.shape == (2, 10)


def test_demo_reads_its_dimensions_from_its_configuration() -> None:
    clip = build_demo(CONFIG)
    assert clip.text.encode(["a man", "a woman of a photo"]).shape == (2, CONFIG.projected_dim)
    assert clip.trunk.projected_dim == CONFIG.projected_dim
