"""Settings of the alignment that makes the demo's CLIP."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class PretrainSettings(BaseModel):
    """The section `pretrain` of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(default=1200, ge=1, description="steps of the alignment")
    batch: int = Field(default=128, ge=8, description="image-caption pairs a step")
    grey: float = Field(
        default=0.25, ge=0, le=1, description="share of the visible images that are greyed, without colour words"
    )
    tower_rate: float = Field(default=6e-4, gt=0, description="learning rate of the ImageNet weights, AdamW")
    new_rate: float = Field(default=1.5e-3, gt=0, description="learning rate of everything else, AdamW")
    attribute_weight: float = Field(default=0.5, ge=0, description="weight of the attribute heads' cross-entropy")
    true_label_epochs: int = Field(default=8, ge=1, description="epochs of the gate's training with true labels")
