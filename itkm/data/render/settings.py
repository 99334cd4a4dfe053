"""Settings of the renderer. Nothing heavy is imported here, so that `itkm.config` can hold them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class RenderSettings(BaseModel):
    """Numbers that decide which persons, cameras and images are rendered. Same settings, same images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0, description="Seed from which every identity, camera and image is derived.")
    height: int = Field(default=128, ge=16, description="Height of an image in pixels.")
    width: int = Field(default=64, ge=8, description="Width of an image in pixels.")
    jpeg_quality: int = Field(
        default=82, ge=10, le=100, description="JPEG quality with which the writer of shards stores an image."
    )

    train_identities: int = Field(default=120, ge=0, description="Identities of a scenario's training split.")
    validation_identities: int = Field(default=40, ge=0, description="Identities of a scenario's validation split.")
    test_identities: int = Field(
        default=60, ge=0, description="Identities of a scenario's test (gallery and query) split."
    )
    train_images: int = Field(default=6, ge=1, description="Images of a training identity in each of the two groups.")
    validation_images: int = Field(
        default=4, ge=1, description="Images of a validation identity in each of the two groups."
    )
    test_images: int = Field(default=4, ge=1, description="Images of a test identity in each of the two groups.")
    cameras_per_group: int = Field(
        default=3, ge=1, description="Cameras of each group of a scenario; images are spread over them."
    )

    infrared_tone: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="Share of a garment's visible luminance in its infrared tone; the rest is random per garment.",
    )
    domain_gap: float = Field(
        default=1.5,
        ge=0,
        le=1.5,
        description="Strength of the surveillance look (colour mixing, haze, contrast) of scenario cameras.",
    )
    bottoms_change: float = Field(
        default=0.4, ge=0, le=1, description="Scenario cc: probability that the bottoms change between outfits."
    )
    shoes_change: float = Field(
        default=0.2, ge=0, le=1, description="Scenario cc: probability that the shoes change between outfits."
    )
    low_factor_min: float = Field(
        default=2.0, ge=1, description="Scenario cr: smallest factor of down-sampling in the group `low`."
    )
    low_factor_max: float = Field(
        default=4.0, ge=1, description="Scenario cr: largest factor of down-sampling in the group `low`."
    )
    occluder_rate: float = Field(
        default=0.08, ge=0, le=1, description="Mean probability that something stands in front of a person."
    )

    pretrain_identities: int = Field(
        default=1500, ge=1, description="Identities of the captioned corpus, none of them in a scenario."
    )
    pretrain_outfits: int = Field(default=2, ge=1, le=8, description="Outfits of an identity of the captioned corpus.")
    pretrain_images: int = Field(default=5, ge=1, description="Images of each outfit in the captioned corpus.")
    pretrain_infrared: float = Field(
        default=0.25, ge=0, le=1, description="Share of infrared images in the captioned corpus."
    )
    pretrain_cameras: int = Field(
        default=200, ge=1, description="Cameras of the captioned corpus, none of them in a scenario."
    )
    fresh_images: int = Field(default=2, ge=1, description="Images of each fresh identity that the gate looks at.")
    workers: int = Field(
        default=2, ge=1, description="Processes that render the captioned corpus; the images do not depend on it."
    )
