"""The variants: each is nothing but a few other values in params.yaml."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from itkm.config import Settings
from itkm.errors import InputError

FULL = "full"
SINGLE = "single-scenario"

Params = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """One row of the ablation.

    Attributes:
        about: what differs from the full method, in words.
        overrides: values of params.yaml by their path with dots.
        alone: every scenario is trained on its own, to a model of its own.
    """

    about: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = False


NO_MATCHES = {"heterogeneous.cluster_weight": 0.0, "heterogeneous.instance_weight": 0.0}

VARIANTS: dict[str, Variant] = {
    FULL: Variant("the method as params.yaml has it"),
    SINGLE: Variant("a model of its own for every scenario", alone=True),
    "no-scenario-embedding": Variant("no scenario embedding", {"model.scenario_scale": 0.0}),
    "single-frontend": Variant("one frontend for both groups", {"model.branches": "single"}),
    "no-separation": Variant("no separation of the scenarios' texts", {"prompts.separation_weight": 0.0}),
    "offline-texts": Variant("texts as Stage II left them, no DRU", {"heterogeneous.dynamic_texts": False}),
    "no-chm": Variant("no loss on matched clusters (CHM)", {"heterogeneous.cluster_weight": 0.0}),
    "no-ihm": Variant("no loss on matched instances (IHM)", {"heterogeneous.instance_weight": 0.0}),
    "no-text": Variant("no text-guided loss", {"heterogeneous.text_weight": 0.0}),
    "homogeneous-only": Variant(
        "Stage III goes on as Stage I: no matches, no texts", {**NO_MATCHES, "heterogeneous.text_weight": 0.0}
    ),
}
"""By name, in the order of the table."""


@dataclass(frozen=True)
class Run:
    """One training: a variant with a seed; `scenario` is '' where all are trained jointly. `params`: all of them."""

    variant: str
    seed: int
    scenario: str
    params: Params

    @property
    def name(self) -> str:
        """Unique within one ablation, and fit for a file or an experiment of DVC."""
        return "-".join(part for part in (self.variant, self.scenario, f"seed{self.seed}") if part)

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.variant}{f' {self.scenario}' if self.scenario else ''}, seed {self.seed}"


def choose_variants(names: Sequence[str]) -> list[str]:
    """The variants of these names, in the table's order; the full method, with which all are compared, is always there.

    Raises:
        InputError: a name that is none.
    """
    for name in names:
        if name not in VARIANTS:
            near = difflib.get_close_matches(name, VARIANTS, n=1)
            meant = f"Did you mean {near[0]!r}? " if near else ""
            raise InputError(f"--variants: {name!r} is no variant. {meant}Choose from {', '.join(VARIANTS)}.")
    return [name for name in VARIANTS if name in names or name == FULL]


def plan_runs(params: Params, *, variants: Sequence[str], seeds: Sequence[int], split: str) -> list[Run]:
    """All runs, one seed after the other, so that early on every variant has something to show.

    Args:
        params: the content of params.yaml.
        variants: names.
        seeds: each variant is trained with every one.
        split: identities that are scored, `validation` or `test`.

    Raises:
        InputError: values that a variant does not allow.
    """
    scenarios = list(params["scenarios"])
    runs = []
    for seed in seeds:
        for name in variants:
            changed = with_overrides(params, {**VARIANTS[name].overrides, "seed": seed, "evaluate.split": split})
            for scenario in scenarios if VARIANTS[name].alone else [""]:
                own = alone(changed, scenario) if scenario else changed
                _require_valid(own, name)
                runs.append(Run(name, seed, scenario, own))
    return runs


def with_overrides(params: Params, overrides: Mapping[str, Any]) -> Params:
    """A copy of the params in which the values named by paths with dots are replaced."""
    changed = copy.deepcopy(params)
    for path, value in overrides.items():
        *sections, key = path.split(".")
        place = changed
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    return changed


def alone(params: Params, scenario: str) -> Params:
    """The params of a project that has only this scenario."""
    changed = with_overrides(params, {"scenarios": [scenario]})
    protocol = changed.get("evaluate", {}).get("protocol")
    if isinstance(protocol, dict):
        changed["evaluate"]["protocol"] = {scenario: protocol[scenario]}
    return changed


def _require_valid(params: Params, variant: str) -> None:
    try:
        Settings.model_validate(params)
    except ValidationError as error:
        detail = error.errors()[0]
        place = ".".join(map(str, detail["loc"]))
        raise InputError(f"params.yaml does not allow the variant {variant}: {place}: {detail['msg']}.") from error
