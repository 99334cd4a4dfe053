"""CLIP image towers, split where ITKM's dual-branch frontend forks.

A tower is a `stem` (images to a first map, copied per group) and a trunk (everything after it, shared). Every trunk
maps the stem's output [B, C, h, w] and a scenario embedding [B, C] to a pooled feature [B, D] and its projection [B, E]
into CLIP's text space.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

ScenarioTokens = Literal["all", "class"]


class Trunk(nn.Module):
    """The shared part of a tower; `stem_width` C, `feature_dim` D, `projected_dim` E."""

    stem_width: int
    feature_dim: int
    projected_dim: int

    def forward(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Maps the stem's output [B, C, h, w] and the embedding [B, C] to feature [B, D] and projection [B, E]."""
        raise NotImplementedError


class PatchStem(nn.Module):
    """The patch convolution of a CLIP vision transformer as one matrix product: several times as fast on a GPU."""

    def __init__(self, convolution: Any) -> None:
        super().__init__()
        self.weight = convolution.weight

    def forward(self, images: Tensor) -> Tensor:
        """Patches [B, C, h, w] of images [B, 3, H, W]; what is left over at the right and below is not seen."""
        size = self.weight.shape[-1]
        rows, columns = (length // size for length in images.shape[2:])
        cut = images[:, :, : rows * size, : columns * size].unflatten(2, (rows, size)).unflatten(4, (columns, size))
        patches = cut.permute(0, 2, 4, 1, 3, 5).flatten(3)
        return nn.functional.linear(patches, self.weight.flatten(1)).permute(0, 3, 1, 2)


class TransformerTrunk(Trunk):
    """A CLIP vision transformer after its patch convolution: z0 = [cls; E_g(x)] + E_pos + scenario embedding [paper].

    Which tokens receive the embedding is not public: `all` follows TransReID, `class` is the alternative [ours].

    Attributes:
        gradient_checkpointing: compute each block again in the backward pass instead of keeping what it computed.
    """

    def __init__(self, visual: Any, *, scenario_tokens: ScenarioTokens = "all") -> None:
        super().__init__()
        self.class_embedding = visual.class_embedding
        self.positional_embedding = visual.positional_embedding
        self.ln_pre, self.transformer, self.ln_post = visual.ln_pre, visual.transformer, visual.ln_post
        self.proj = visual.proj
        self.scenario_tokens = scenario_tokens
        self.gradient_checkpointing = False
        self.stem_width = self.feature_dim = int(visual.class_embedding.shape[0])
        self.projected_dim = int(visual.proj.shape[1])

    def forward(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """See `Trunk.forward`."""
        patches = x.flatten(2).transpose(1, 2)
        first = self.class_embedding.to(x.dtype).expand(len(x), 1, -1)
        tokens = torch.cat([first, patches], dim=1) + self.positional_embedding.to(x.dtype)
        if self.scenario_tokens == "all":
            tokens = tokens + embedding[:, None]
        else:
            tokens = torch.cat([tokens[:, :1] + embedding[:, None], tokens[:, 1:]], dim=1)
        tokens = self.ln_pre(tokens)
        *blocks, last = self.transformer.resblocks
        for block in (*blocks, partial(_class_token, last)):
            tokens = checkpoint(block, tokens, use_reentrant=False) if self.gradient_checkpointing else block(tokens)
        feature = self.ln_post(tokens)
        return feature, feature @ self.proj


def _class_token(block: Any, tokens: Tensor) -> Tensor:
    """What an open_clip block makes of the class token [B, C], without what the last block makes of the others."""
    first = (tokens + block.ls_1(block.ln_attn(block.attn(block.ln_1(tokens)))))[:, 0]
    return first + block.ls_2(block.mlp(block.ln_2(first)))  # type: ignore[no-any-return]


class ResNetTrunk(Trunk):
    """CLIP's modified ResNet after its stem of three convolutions.

    The feature is the mean of the last map [field: CLIP-ReID].
    A convolutional tower has no tokens: the scenario embedding is a bias per channel of the stem's map [ours].
    """

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.layers = nn.Sequential(visual.layer1, visual.layer2, visual.layer3, visual.layer4)
        self.attnpool = visual.attnpool
        self.stem_width = int(visual.conv3.out_channels)
        self.feature_dim = int(visual.attnpool.c_proj.in_features)
        self.projected_dim = int(visual.attnpool.c_proj.out_features)

    def forward(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """See `Trunk.forward`."""
        x = self.layers(x + embedding[:, :, None, None])
        return x.mean((2, 3)), self.attnpool(x)


def split_resnet_stem(visual: Any) -> nn.Sequential:
    """The stem of CLIP's modified ResNet as one module."""
    names = ("conv1", "bn1", "act1", "conv2", "bn2", "act2", "conv3", "bn3", "act3", "avgpool")
    return nn.Sequential(*(getattr(visual, name) for name in names))


def resnet_grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the last map of CLIP's modified ResNet: one convolution rounds up, four poolings down."""
    return (height + 1) // 2 // 16, (width + 1) // 2 // 16


def resize_attention_pool(pool: Any, grid: tuple[int, int]) -> None:
    """Fits the positions of an `AttentionPool2d`, those of a square map, to another map, in place.

    open_clip builds this tower for square images alone. Bilinear, as CLIP-ReID resizes its positions [field].
    """
    first, old = pool.positional_embedding.detach().split([1, len(pool.positional_embedding) - 1])
    side = math.isqrt(len(old))
    if (side, side) == grid:
        return
    square = old.T.reshape(1, -1, side, side)
    resized = nn.functional.interpolate(square, size=grid, mode="bilinear", align_corners=False)
    pool.positional_embedding = nn.Parameter(torch.cat([first, resized[0].flatten(1).T]))


class PartTrunk(Trunk):
    """The demo's trunk: EfficientNet-Lite0 to its fifth stage, pooled in horizontal parts.

    Mean and maximum of the third and fifth stage's maps over `parts` stripes, standardised, projected linearly. Stripes
    matter more than depth at this size: a person's head, trunk and legs stay where they are.
    """

    def __init__(self, blocks: nn.Sequential, *, stem_width: int, parts: int, projected_dim: int) -> None:
        super().__init__()
        self.early, self.late = blocks[:3], blocks[3:5]
        self.parts = parts
        self.stem_width = stem_width
        self.feature_dim = 2 * parts * (40 + 112)
        self.projected_dim = projected_dim
        self.norm = nn.BatchNorm1d(self.feature_dim)
        self.proj = nn.Linear(self.feature_dim, projected_dim, bias=False)

    def forward(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """See `Trunk.forward`."""
        middle = self.early(x + embedding[:, :, None, None])
        feature = self.norm(torch.cat([self._pool(middle), self._pool(self.late(middle))], dim=1))
        return feature, self.proj(feature)

    def _pool(self, x: Tensor) -> Tensor:
        stripes = (self.parts, 1)
        mean = nn.functional.adaptive_avg_pool2d(x, stripes)
        peak = nn.functional.adaptive_max_pool2d(x, stripes)
        return torch.cat([mean, peak], dim=1).flatten(1)


def build_part_tower(*, parts: int, projected_dim: int) -> tuple[nn.Sequential, PartTrunk]:
    """Stem and trunk of the demo's image tower, with random weights."""
    import timm

    network: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    stem = nn.Sequential(network.conv_stem, network.bn1)
    width = int(network.conv_stem.out_channels)
    return stem, PartTrunk(network.blocks, stem_width=width, parts=parts, projected_dim=projected_dim)
