"""Features of many images: rows written into one array, batch by batch."""

from __future__ import annotations

from collections.abc import Callable

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
    return torch.from_numpy(images).to(device).contiguous(memory_format=torch.channels_last).div(255)


@torch.no_grad()
def extract(
    encoder: Encoder, images: NDArray[np.uint8], *, scenario: int, group: NDArray[np.int64], batch: int = 256
) -> tuple[Tensor, Tensor]:
    """Unit features [N, D] and unit projections [N, E] of one scenario's images [N, 3, H, W], on the CPU.

    Several processes share the images and all get all features.
    """
    count, places = len(images), own_places(len(images))
    images, group = images[places], group[places]

    def encode(rows: slice, pixels: Tensor) -> tuple[Tensor, Tensor]:
        groups = torch.from_numpy(group[rows])
        features: tuple[Tensor, Tensor] = encoder(pixels, torch.full_like(groups, scenario), groups)
        return features

    encoder.eval()
    widths = (encoder.trunk.feature_dim, encoder.trunk.projected_dim)
    features, projected = _in_batches(encode, images, batch, encoder.scenario_embedding.device, widths)
    return gather(features, count), gather(projected, count)


@torch.no_grad()
def extract_frozen(clip: Clip, images: NDArray[np.uint8], *, batch: int = 256) -> Tensor:
    """Unit projections [N, E] of images by the frozen CLIP, without ITKM's additions."""
    clip.eval()
    widths = (clip.trunk.projected_dim,)
    (projected,) = _in_batches(
        lambda _, pixels: clip.encode_image(pixels)[1:], images, batch, clip.logit_scale.device, widths
    )
    return projected


def _in_batches(
    encode: Callable[[slice, Tensor], tuple[Tensor, ...]],
    images: NDArray[np.uint8],
    size: int,
    device: torch.device,
    widths: tuple[int, ...],
) -> list[Tensor]:
    """Unit rows [N, width] of each output of `encode` for batches of images, in memory that a GPU writes by itself."""
    pinned = device.type == "cuda"
    results = [torch.empty(len(images), width, pin_memory=pinned) for width in widths]
    parts = (slice(start, start + size) for start in range(0, len(images), size))
    for rows, pixels in ahead(((rows, to_pixels(images[rows], device)) for rows in parts), device):
        with mixed_precision(device):
            outputs = encode(rows, pixels)
        for result, output in zip(results, outputs, strict=True):
            result[rows].copy_(normalize(output.float(), dim=1), non_blocking=True)
    if pinned:
        torch.cuda.synchronize(device)
    return results
