"""The ITKM image encoder: CLIP's image tower with a branch per group and an embedding per scenario."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from itkm.devices import send
from itkm.models.towers import Trunk

Branches = Literal["shared", "per-scenario", "single"]


class Encoder(nn.Module):
    """Dual-branch frontend, scenario embedding, shared trunk, BNNeck.

    Args:
        stem, trunk: the image tower; the stem is copied, so that every branch starts from CLIP's.
        scenarios: names, whose order numbers the scenarios.
        mean, std: of the pixels that CLIP was trained on, for RGB in [0, 1].
        branches: `shared` = one stem per group for all scenarios [paper; field: SDCL], `per-scenario` = a pair for each
            [ours], `single` = one stem for all, as the ablation needs it.
        scenario_scale: lambda, the weight of the scenario embedding [ours: 1; TransReID: 3].
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        stem: nn.Module,
        trunk: Trunk,
        *,
        scenarios: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        branches: Branches = "shared",
        scenario_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.scenarios = tuple(scenarios)
        copies = {"single": 1, "shared": 2, "per-scenario": 2 * len(self.scenarios)}[branches]
        self.branches = branches
        self.stems = nn.ModuleList(copy.deepcopy(stem) for _ in range(copies))
        self.trunk = trunk
        self.scenario_scale = scenario_scale
        self.scenario_embedding = nn.Parameter(torch.empty(len(self.scenarios), trunk.stem_width))
        nn.init.trunc_normal_(self.scenario_embedding, std=0.02)
        self.neck = nn.BatchNorm1d(trunk.feature_dim)
        self.neck.bias.requires_grad_(False)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(
        self, images: Tensor, scenario: Tensor, group: Tensor, *, present: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Features of images.

        Args:
            images: RGB in [0, 1], [B, 3, H, W].
            scenario: number of each image's scenario, int64 [B] on the CPU.
            group: 0 or 1, int64 [B] on the CPU.
            present: branches that run, even on no image; by default those of the images. Processes that share a batch
                must all run the same, or they would wait for each other.

        Returns:
            the feature for clustering and retrieval [B, D] and its projection into the text space [B, E], neither of
            them normalised.
        """
        x = self._frontend((images - self.mean) / self.std, self._branch(scenario, group), present)
        embedding = self.scenario_scale * self.scenario_embedding[send(scenario, images.device)]
        feature, projected = self.trunk(x, embedding.to(x.dtype))
        return self.neck(feature), projected

    def branches_of(self, scenario: Tensor, group: Tensor) -> list[int]:
        """Numbers of the branches that these images [B] go through."""
        return self._branch(scenario, group).unique().tolist()  # type: ignore[no-any-return]

    def _branch(self, scenario: Tensor, group: Tensor) -> Tensor:
        if self.branches == "single":
            return torch.zeros_like(group)
        return group if self.branches == "shared" else 2 * scenario + group

    def _frontend(self, images: Tensor, branch: Tensor, present: Sequence[int] | None) -> Tensor:
        if present is None:
            present = branch.unique().tolist()
        if len(present) == 1:
            return self.stems[present[0]](images)  # type: ignore[no-any-return]
        order = branch.argsort(stable=True)
        sizes = [int((branch == number).sum()) for number in present]
        parts = images[send(order, images.device)].split(sizes)
        maps = torch.cat([self.stems[number](part) for number, part in zip(present, parts, strict=True)])
        # Channels last while they are put in order: else the gradient comes back channels first, which is slow to use.
        return maps.permute(0, 2, 3, 1)[send(order.argsort(), images.device)].permute(0, 3, 1, 2)
