"""Image augmentation on whole batches of tensors, seeded, on any device [field: flip, pad-crop, random erasing]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad


def augment(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Horizontal flip, shifted crop after padding, and random erasing of RGB images [B, 3, H, W] in [0, 1]."""
    return erase(shift(flip(images, generator), generator), generator)


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrors half of the images."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None].to(images.device), images.flip(3), images)


def shift(images: Tensor, generator: torch.Generator, *, share: float = 0.06) -> Tensor:
    """Pads by a share of the height, repeating the border, and crops at a random place."""
    _, _, height, width = images.shape
    border = max(1, round(share * height))
    padded = pad(images, (border, border, border, border), mode="replicate")
    top, left = torch.randint(0, 2 * border + 1, (2, len(images)), generator=generator).to(images.device)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(images), device=images.device), :, top, left]


def erase(images: Tensor, generator: torch.Generator, *, probability: float = 0.5) -> Tensor:
    """Fills a random rectangle of 2 to 30 % of some images with their mean colour."""
    count, _, height, width = images.shape
    area = torch.empty(count).uniform_(0.02, 0.30, generator=generator) * height * width
    ratio = torch.empty(count).uniform_(-1.2, 1.2, generator=generator).exp()
    tall, wide = (area * ratio).sqrt().clamp(max=height), (area / ratio).sqrt().clamp(max=width)
    y = torch.rand(count, generator=generator) * (height - tall)
    x = torch.rand(count, generator=generator) * (width - wide)
    rows, columns = torch.arange(height)[None], torch.arange(width)[None]
    hit = torch.rand(count, generator=generator) < probability
    inside_y = (rows >= y[:, None]) & (rows < (y + tall)[:, None]) & hit[:, None]
    inside_x = (columns >= x[:, None]) & (columns < (x + wide)[:, None])
    mask = inside_y.to(images.device)[:, None, :, None] & inside_x.to(images.device)[:, None, None, :]
    return torch.where(mask, images.mean((2, 3), keepdim=True), images)


def mix_channels(images: Tensor, generator: torch.Generator, *, probability: float = 0.5) -> Tensor:
    """Channel augmentation for visible-infrared: some images keep one channel, or their mean, in all three.

    [field: CAJ, used by ADCA, PGM and SDCL]
    """
    choice = torch.randint(0, 4, (len(images),), generator=generator).to(images.device)
    luminance = images.mean(1, keepdim=True)
    single = torch.cat([images, luminance], dim=1).gather(
        1, choice[:, None, None, None].expand(-1, 1, *images.shape[2:])
    )
    hit = (torch.rand(len(images), generator=generator) < probability).to(images.device)
    return torch.where(hit[:, None, None, None], single.expand_as(images), images)


def lower_resolution(images: Tensor, generator: torch.Generator, *, probability: float = 0.5) -> Tensor:
    """Down-samples some images by 2 to 4 and enlarges them again, for cross-resolution [field: RLIM]."""
    _, _, height, width = images.shape
    hit = torch.rand(len(images), generator=generator) < probability
    factor = torch.randint(2, 5, (len(images),), generator=generator)
    result = images.clone()
    for size in (2, 3, 4):
        rows = (hit & (factor == size)).nonzero()[:, 0].to(images.device)
        if len(rows):
            small = interpolate(images[rows], size=(height // size, width // size), mode="area")
            result[rows] = interpolate(small, size=(height, width), mode="bilinear", align_corners=False)
    return result
