from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from itkm.training.augment import augment, erase, flip, lower_resolution, mix_channels, shift

IMAGES = torch.rand(64, 3, 32, 16, generator=torch.Generator().manual_seed(0))
Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def all_of_it(images: Tensor, source: torch.Generator) -> Tensor:
    return augment(images, generator=source)


def changed(images: Tensor) -> Tensor:
    return (images != IMAGES).flatten(1).any(1)


@pytest.mark.parametrize("function", [all_of_it, flip, shift, erase, mix_channels, lower_resolution])
def test_shape_range_and_determinism(function: Augmentation) -> None:
    before = IMAGES.clone()
    result = function(IMAGES, generator())
    assert result.shape == IMAGES.shape
    assert result.dtype == IMAGES.dtype
    assert 0 <= float(result.min()) <= float(result.max()) <= 1
    assert torch.equal(result, function(IMAGES, generator()))
    assert not torch.equal(result, function(IMAGES, generator(2)))
    assert torch.equal(IMAGES, before)


def test_flip_mirrors_about_half_of_the_images() -> None:
    result = flip(IMAGES, generator())
    mirrored = changed(result)
    assert 15 < int(mirrored.sum()) < 50
    assert torch.equal(result[mirrored], torch.stack([image[:, :, range(15, -1, -1)] for image in IMAGES[mirrored]]))


def test_shift_moves_whole_images_and_repeats_the_border() -> None:
    result = shift(IMAGES, generator())
    border, places = 2, set()
    for image, moved in zip(IMAGES, result, strict=True):
        rows = torch.arange(-border, 32 + border).clamp(0, 31)
        columns = torch.arange(-border, 16 + border).clamp(0, 15)
        padded = image[:, rows][:, :, columns]
        found = [
            (y, x)
            for y in range(2 * border + 1)
            for x in range(2 * border + 1)
            if torch.equal(padded[:, y : y + 32, x : x + 16], moved)
        ]
        assert len(found) == 1
        places.update(found)
    assert len(places) > 10


def test_erase_fills_a_rectangle_with_the_mean_colour() -> None:
    result = erase(IMAGES, generator())
    hit = changed(result)
    assert 15 < int(hit.sum()) < 50
    for image, erased in zip(IMAGES[hit], result[hit], strict=True):
        mask = (image != erased).any(0)
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        height, width = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
        assert int(mask.sum()) == height * width  # one full rectangle
        assert height * width <= 0.45 * 32 * 16  # 30 %, rounded up on both sides
        assert torch.allclose(erased[:, mask], image.mean((1, 2))[:, None].expand(-1, int(mask.sum())), atol=1e-6)


def test_mixed_channels_are_one_channel_or_the_mean_in_all_three() -> None:
    result = mix_channels(IMAGES, generator())
    hit = changed(result)
    assert 15 < int(hit.sum()) < 50
    kinds = set()
    for image, mixed in zip(IMAGES[hit], result[hit], strict=True):
        assert torch.equal(mixed[0], mixed[1])
        assert torch.equal(mixed[0], mixed[2])
        candidates = [*image, image.mean(0)]
        (kind,) = [number for number, own in enumerate(candidates) if torch.allclose(own, mixed[0])]
        kinds.add(kind)
    assert kinds == {0, 1, 2, 3}


def test_lower_resolution_blurs_some_images_and_keeps_their_mean() -> None:
    result = lower_resolution(IMAGES, generator())
    hit = changed(result)
    assert 15 < int(hit.sum()) < 50
    detail = [images[hit].diff(dim=3).abs().mean() for images in (IMAGES, result)]
    assert detail[1] < 0.5 * detail[0]
    assert torch.allclose(result[hit].mean((2, 3)), IMAGES[hit].mean((2, 3)), atol=0.05)
