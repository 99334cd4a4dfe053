"""Features of many images: rows written into one array, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from itkm.models.clip import Clip
from itkm.models.encoder import Encoder
from itkm.training.ahead import ahead
from itkm.training.distributed import gather, own_places
from itkm.training.runtime import mixed_precision


def to_pixels(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """uint8 images [B, 3, H, W] as floats in [0, 1] on the device, channels last: convolutions prefer it."""
    pixels = torch.from_numpy(images).to(device).float().div_(255)
    return pixels.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def extract(
    encoder: Encoder, images: NDArray[np.uint8], *, scenario: int, group: NDArray[np.int64], batch: int = 256
) -> tuple[Tensor, Tensor]:
    """Unit features [N, D] and unit projections [N, E] of one scenario's images [N, 3, H, W], on the CPU.

    Several processes share the images and all get all features.
    """
    device = encoder.scenario_embedding.device
    count, places = len(images), own_places(len(images))
    images, group = images[places], group[places]
    features = torch.empty(len(images), encoder.trunk.feature_dim, device=device)
    projected = torch.empty(len(images), encoder.trunk.projected_dim, device=device)
    encoder.eval()
    for rows, pixels in pixel_batches(images, batch, device):
        groups = torch.from_numpy(group[rows])
        with mixed_precision(device):
            outputs = encoder(pixels, torch.full_like(groups, scenario), groups)
        features[rows], projected[rows] = (normalize(output.float(), dim=1) for output in outputs)
    return gather(features.cpu(), count), gather(projected.cpu(), count)


def pixel_batches(images: NDArray[np.uint8], size: int, device: torch.device) -> Iterator[tuple[slice, Tensor]]:
    """Where each batch of `size` images [N, 3, H, W] stands among them, and its pixels on the device."""
    parts = (slice(start, start + size) for start in range(0, len(images), size))
    return ahead(((rows, to_pixels(images[rows], device)) for rows in parts), device)


@torch.no_grad()
def extract_frozen(clip: Clip, images: NDArray[np.uint8], *, batch: int = 256) -> Tensor:
    """Unit projections [N, E] of images by the frozen CLIP, without ITKM's additions."""
    device = clip.logit_scale.device
    projected = torch.empty(len(images), clip.trunk.projected_dim, device=device)
    clip.eval()
    for rows, pixels in pixel_batches(images, batch, device):
        with mixed_precision(device):
            output = clip.encode_image(pixels)[1]
        projected[rows] = normalize(output.float(), dim=1)
    return projected.cpu()
