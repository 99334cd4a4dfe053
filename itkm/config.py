"""params.yaml as frozen, typed models: an unknown key is refused, with the nearest known one suggested."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from itkm.data.render.settings import RenderSettings
from itkm.errors import InputError
from itkm.labelling.settings import LabellingSettings
from itkm.models.settings import ModelSettings


class Section(BaseModel):
    """A part of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)


ThresholdKey = Annotated[str, Field(pattern=r"^(default|[^/]+(/[^/]+)?)$")]
"""`default`, `<scenario>` or `<scenario>/<group>`; the most special one counts."""


class BatchSettings(Section):
    """P x K batches of every (scenario, group), and the optimiser that they drive."""

    epochs: int = Field(default=8, ge=1, description="rounds of extract, label, train")
    identities: int = Field(default=8, ge=2, description="P, pseudo-identities a step from every scenario and group")
    instances: int = Field(default=4, ge=2, description="K, images of each pseudo-identity")
    learning_rate: float = Field(default=2e-4, gt=0, description="peak of the learning rate, Adam")
    weight_decay: float = Field(default=1e-4, ge=0, description="weight decay, Adam")
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of all steps with a rising learning rate")
    averaging: float = Field(default=0.97, ge=0, lt=1, description="decay a step of the averaged weights; they extract")
    temperature: float = Field(default=0.05, gt=0, description="tau of the contrastive losses")
    memory_momentum: float = Field(default=0.2, ge=0, lt=1, description="m, share of the old vector in a memory update")
    augmentation: dict[str, Literal["channels", "resolution"]] = Field(
        default={"vi": "channels", "cr": "resolution"},
        description="augmentation of a scenario beside flip, crop and erasing: mixed channels or lower resolution",
    )
    freeze_statistics: bool = Field(
        default=False, description="keep the batch statistics of the tower as the stage finds them"
    )
    gradient_checkpointing: bool = Field(
        default=False, description="vit: compute each block again in the backward pass; far less memory, a third slower"
    )
    compile: bool = Field(
        default=False, description="vit: compile the trunk with torch.compile; faster on GPUs, after a minute"
    )


class HomogeneousSettings(BatchSettings):
    """Stage I."""

    appearance_prior: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="weight of a striped colour histogram in the neighbour search; it fades out over the epochs",
    )
    camera_centring: bool = Field(
        default=False, description="subtract each camera's mean feature before the neighbour search"
    )


class PromptSettings(Section):
    """Stage II."""

    tokens: int = Field(default=4, ge=1, le=16, description="M, learnable tokens a cluster")
    epochs: int = Field(default=20, ge=1, description="passes over the cached features")
    batch: int = Field(default=64, ge=2, description="images a step")
    learning_rate: float = Field(default=3.5e-4, gt=0, description="peak of the learning rate, Adam")
    warmup: float = Field(default=0.05, ge=0, lt=1, description="share of all steps with a rising learning rate")
    separation_weight: float = Field(default=0.5, ge=0, description="weight of the multi-scenario separation loss")
    separation_margin: float = Field(
        default=0.2, ge=-1, le=1, description="mu, cosine that texts of scenarios may have"
    )


class HeterogeneousSettings(BatchSettings):
    """Stage III."""

    camera_centring: bool = Field(
        default=False, description="subtract each camera's mean feature before the neighbour search"
    )
    match_centring: bool = Field(
        default=False, description="subtract each camera's mean feature before clusters and instances are matched"
    )
    dynamic_texts: bool = Field(default=True, description="DRU: texts follow the newest clusters; else stay offline")
    cluster_weight: float = Field(default=0.5, ge=0, description="weight of L_chm")
    cluster_pairs: Literal["progressive", "hungarian", "mutual", "transport"] = Field(
        default="progressive", description="which pairs of clusters CHM trusts"
    )
    cluster_text_weight: float = Field(default=1.0, ge=0, description="weight of the texts' similarity in CHM")
    cluster_whitening: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the whitening of cluster means in CHM; near 1 all cues weigh alike",
    )
    instance_weight: float = Field(default=0.25, ge=0, description="weight of L_ihm")
    instance_neighbours: int = Field(
        default=20, ge=1, description="k, neighbours that image and text must share in IHM"
    )
    instance_pairs: Literal["all", "mutual", "consistent"] = Field(
        default="all", description="which pairs of instances IHM trusts"
    )
    instance_momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum of the instance memory")
    text_weight: float = Field(default=1.0, ge=0, description="weight of L_text")
    label_smoothing: float = Field(default=0.1, ge=0, lt=1, description="label smoothing of L_text")


PROTOCOL_NAMES = (
    *("cross-group", "market1501", "msmt17", "sysu-all", "sysu-all-multi", "sysu-indoor", "sysu-indoor-multi"),
    *("regdb", "llcm", "prcc", "prcc-single", "prcc-same", "prcc-single-same", "ltcc", "ltcc-cc", "ltcc-sc"),
    *("vc-clothes", "vc-clothes-cc", "vc-clothes-sc", "mlr-single-shot", "caviar", "text"),
)
"""Those of `itkm.evaluation.protocols`, which the settings must not import: training reads settings, and no label."""


class EvaluateSettings(Section):
    """The evaluation of the three models."""

    split: Literal["test", "validation"] = Field(
        default="test", description="identities that are scored: choose settings on validation, publish test"
    )
    protocol: str | dict[str, str] = Field(
        default="cross-group", description="named protocol, or one for each scenario such as {vi: sysu-all, cc: prcc}"
    )

    @field_validator("protocol")
    @classmethod
    def _known(cls, protocol: str | dict[str, str]) -> str | dict[str, str]:
        for name in protocol.values() if isinstance(protocol, dict) else [protocol]:
            if name not in PROTOCOL_NAMES:
                raise ValueError(f"protocol {name!r} is not known; {_nearest(name, PROTOCOL_NAMES, 'names')}")
        return protocol

    def protocol_of(self, scenario: str) -> str:
        """The name of the protocol that scores a scenario."""
        return self.protocol if isinstance(self.protocol, str) else self.protocol[scenario]


class RegistrySettings(Section):
    """When a newly trained model takes the champion's place."""

    margin: float = Field(default=0.005, ge=0, lt=1, description="mean mAP that a new champion must gain, of 1")
    tolerance: float = Field(default=0.02, ge=0, lt=1, description="mAP that one scenario may lose, of 1")
    health_tolerance: float = Field(
        default=0.1, ge=0, lt=1, description="health that may be lost where no labels decide, of 1"
    )


class FeedSettings(Section):
    """What the images of a camera must be like: `itkm feed validate` and the stage `validate`."""

    min_images: int = Field(default=10, ge=1, description="fewest images of a feed")
    decode_rate: float = Field(default=0.95, ge=0, le=1, description="smallest share of the files that decode")
    min_width: int = Field(default=12, ge=1, description="size floor: pixels below which nobody can be told")
    min_height: int = Field(default=32, ge=1, description="size floor: pixels below which nobody can be told")
    small: float = Field(default=0.02, ge=0, lt=1, description="largest share of images below the size floor")
    copies: float = Field(default=0.02, ge=0, lt=1, description="largest share of images that are exact copies")
    near_duplicates: float = Field(
        default=0.1, ge=0, lt=1, description="largest share of images that nearly repeat another one"
    )
    tolerated: float = Field(
        default=0.05, ge=0, lt=1, description="largest share of images that may fail any other check of single images"
    )
    brightness: dict[ThresholdKey, float] = Field(
        default={"default": 20.0},
        description="mean luminance (0-255) below which an image is dark; see `itkm feed calibrate`",
    )
    sharpness: dict[ThresholdKey, float] = Field(
        default={"default": 0.005},
        description="Laplacian / luminance variance below which an image is blurred; see `itkm feed calibrate`",
    )
    detail: dict[ThresholdKey, float] = Field(
        default={},
        description="effective height in pixels that parts the groups low and high; see `itkm feed calibrate`",
    )
    infrared: float = Field(
        default=0.8,
        gt=0,
        lt=1,
        description="infrared score (0-1) from which an image is grey, as infrared cameras give it",
    )
    drift: float = Field(
        default=3.0, ge=1, description="largest drift of features, as a multiple of that between accepted cameras"
    )
    property_drift: float = Field(
        default=2.0, ge=1, description="the same of brightness, contrast and the like (divergence of the histograms)"
    )
    coverage: float = Field(
        default=0.5, ge=0, le=1, description="smallest share of the hours between first and last image that have images"
    )


class PretrainSettings(Section):
    """The alignment that makes the demo's CLIP; no stage reads it."""

    steps: int = Field(default=1800, ge=1, description="steps of the alignment")
    batch: int = Field(default=128, ge=8, description="image-caption pairs a step")
    grey: float = Field(
        default=0.25, ge=0, le=1, description="share of the visible images that are greyed, without colour words"
    )
    stable: float = Field(
        default=0.5, ge=0, le=1, description="share of the captions that name only what survives a change of clothes"
    )
    tower_rate: float = Field(default=6e-4, gt=0, description="learning rate of the ImageNet weights, AdamW")
    new_rate: float = Field(default=1.5e-3, gt=0, description="learning rate of everything else, AdamW")
    attribute_weight: float = Field(
        default=0.75, ge=0, description="weight of the attributes' cross-entropies, by head and by prompt"
    )
    true_label_epochs: int = Field(default=8, ge=1, description="epochs of the gate's training with true labels")


class Settings(Section):
    """The whole of params.yaml."""

    scenarios: tuple[str, ...] = Field(min_length=1, description="scenarios trained jointly, folders below data/")
    seed: int = Field(default=1, ge=0, description="seed of everything random")
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu or cuda:N")
    model: ModelSettings = ModelSettings()
    labelling: LabellingSettings = LabellingSettings()
    homogeneous: HomogeneousSettings = HomogeneousSettings()
    prompts: PromptSettings = PromptSettings()
    heterogeneous: HeterogeneousSettings = HeterogeneousSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    registry: RegistrySettings = RegistrySettings()
    feeds: FeedSettings = FeedSettings()
    render: RenderSettings = RenderSettings()
    pretrain: PretrainSettings = PretrainSettings()

    @field_validator("scenarios")
    @classmethod
    def _named_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError("each scenario is named once")
        return names

    @field_validator("labelling")
    @classmethod
    def _expands_within_the_list(cls, labelling: LabellingSettings) -> LabellingSettings:
        if labelling.k2 > labelling.k1:
            raise ValueError(
                f"labelling.k2 is {labelling.k2}; expected at most labelling.k1, {labelling.k1}, as query expansion "
                "averages over the first of k1 neighbours. Lower labelling.k2 or raise labelling.k1"
            )
        return labelling

    @model_validator(mode="after")
    def _each_scored(self) -> Self:
        protocol = self.evaluate.protocol
        if isinstance(protocol, dict) and set(protocol) != set(self.scenarios):
            raise ValueError(
                f"evaluate.protocol names the scenarios {', '.join(protocol) or 'none'}; expected one name for each of "
                f"{', '.join(self.scenarios)}"
            )
        return self


def read_settings(path: Path) -> Settings:
    """Reads and checks params.yaml.

    Raises:
        InputError: no such file, not YAML, an unknown key (the nearest one is suggested), or a wrong value.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: not found. Run the command in the project's folder.") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {error}. Compare it with the file in the repository.") from error
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        lines = [_explain(detail["loc"], detail["type"], detail["msg"]) for detail in error.errors()]
        raise InputError(f"{path}: " + f"\n{path}: ".join(lines)) from error


def _explain(location: tuple[int | str, ...], kind: str, message: str) -> str:
    name = ".".join(str(part) for part in location)
    if kind != "extra_forbidden":
        sentence = message if message.endswith(("?", ".")) else f"{message}."
        return f"{name}: {sentence}" if name else sentence
    model: type[BaseModel] = Settings
    for part in location[:-1]:
        inner = model.model_fields[str(part)].annotation
        assert isinstance(inner, type) and issubclass(inner, BaseModel)
        model = inner
    return f"{name}: unknown parameter; {_nearest(str(location[-1]), model.model_fields, 'keys')}"


def _nearest(name: str, known: Iterable[str], what: str) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known {what} are {', '.join(known)}."
