"""The settings of pseudo-labelling, as params.yaml spells them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class LabellingSettings(BaseModel):
    """How features become pseudo-labels. Defaults: method.md, for real sizes [field: ADCA, PGM, SDCL]."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["dbscan", "hdbscan"] = Field(
        default="dbscan", description="Clustering of the Jaccard graph. hdbscan needs the package of that name."
    )
    k1: int = Field(default=30, ge=1, description="Length of the neighbour lists, the image itself included.")
    k2: int = Field(
        default=6,
        ge=1,
        description="Neighbours averaged by local query expansion, the image itself included; 1 = none.",
    )
    eps: float = Field(
        default=0.6,
        gt=0,
        lt=1,
        description="Largest Jaccard distance between neighbours. For hdbscan, what is farther counts as distance 1.",
    )
    min_samples: int = Field(
        default=4,
        ge=2,
        description="dbscan: images within eps that make a core point, itself included. hdbscan: the neighbour that "
        "sets an image's core distance, and the smallest cluster.",
    )
    outliers: Literal["drop", "singletons"] = Field(
        default="drop",
        description="Images in no cluster: left out of training [field: Cluster-Contrast], or each a cluster of its "
        "own [field: RLIM].",
    )
