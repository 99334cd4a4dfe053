"""Which CLIP to start from, and how ITKM's encoder is put on top of it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ModelSettings(BaseModel):
    """The section `model` of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["demo", "vit-b-16", "vit-b-16-quickgelu", "rn50", "rn50-quickgelu"] = Field(
        default="demo", description="architecture; OpenAI's weights need the -quickgelu form"
    )
    weights: str = Field(
        default="models/demo", description="folder or file with the CLIP's weights, never downloaded at run time"
    )
    height: int = Field(default=96, ge=32, le=1024, description="height in pixels to which every crop is resized")
    width: int = Field(default=48, ge=16, le=1024, description="width in pixels to which every crop is resized")
    branches: Literal["shared", "per-scenario", "single"] = Field(
        default="shared", description="copies of the frontend: one per group, one per scenario and group, or one"
    )
    scenario_tokens: Literal["all", "class"] = Field(
        default="all", description="tokens of a transformer that receive the scenario embedding"
    )
    scenario_scale: float = Field(default=1.0, ge=0.0, description="weight lambda of the scenario embedding")
