"""What is known of a trained model: from the result of its own run, or by evaluating it again on the present data."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from itkm.config import EvaluateSettings, Settings
from itkm.data.evaluation import load_evaluation
from itkm.data.manifest import COLUMNS, read_table
from itkm.errors import InputError
from itkm.evaluation.protocols import protocol_named
from itkm.models.encoder import Encoder
from itkm.models.store import ModelCard, load_model
from itkm.registry.rules import ScenarioScores, Scores
from itkm.stages.evaluate import SPLITS, score_one
from itkm.stages.layout import Layout
from itkm.tracking import flat
from itkm.training.extraction import extract
from itkm.training.runtime import resolve_device

logger = logging.getLogger(__name__)


def recorded_scores(settings: Settings, layout: Layout, metrics: Mapping[str, Any], card: ModelCard) -> Scores:
    """The scores of the model in `artifacts/model` as the stage `evaluate` found them.

    Args:
        settings: what was evaluated, and how.
        layout: the project.
        metrics: the content of `reports/metrics.json`.
        card: of the model.

    Raises:
        InputError: a file of the run is missing or not of this model.
    """
    if set(metrics["scenarios"]) != set(card.scenarios):
        raise InputError(
            f"{layout.metrics}: of the scenarios {', '.join(metrics['scenarios'])}, but the model knows "
            f"{', '.join(card.scenarios)}. Run `dvc repro`."
        )
    return Scores(
        architecture=_architecture(card),
        accepted=all(_accepted(layout.validation(scenario)) for scenario in card.scenarios),
        scenarios={name: _recorded(metrics["scenarios"][name], settings, layout, name) for name in card.scenarios},
    )


def scores_again(folder: Path, old: Scores, settings: Settings, layout: Layout) -> Scores:
    """The scores of any model on the evaluation set of the project as it is now.

    What was scored on this very set, and scenarios that the project does not have or has no labels for, keep their
    score.

    Args:
        folder: of the model.
        old: what was known of it.
        settings: how to evaluate.
        layout: the project, with its data.

    Raises:
        InputError: the data or tables are not there, or a model that cannot be loaded.
    """
    encoder, _, card = load_model(folder)
    encoder = encoder.to(resolve_device(settings.device)).eval()
    found = dict(old.scenarios)
    for scenario in card.scenarios:
        evaluation = present_evaluation(settings, layout, scenario) if scenario in settings.scenarios else ""
        if evaluation and evaluation != old.scenarios[scenario].evaluation:
            logger.info("evaluating %s again in scenario %s", folder, scenario)
            score = _score(encoder, card, settings, layout, scenario)
            found[scenario] = found[scenario].model_copy(update={"mAP": score, "evaluation": evaluation})
    return old.model_copy(update={"scenarios": found})


def present_evaluation(settings: Settings, layout: Layout, scenario: str) -> str:
    """The hash of a scenario's evaluation set in the project, "" where it has none.

    Raises:
        InputError: the table with the labels is not there.
    """
    path = layout.evaluation_table(scenario)
    if not path.is_file():
        raise InputError(f"{path}: not found. Run `dvc repro`, or in a fresh clone `dvc pull`.")
    return evaluation_hash(read_table(path, COLUMNS), settings.evaluate, scenario)


def evaluation_hash(table: pd.DataFrame, options: EvaluateSettings, scenario: str) -> str:
    """SHA-256 of what is scored: the images by their content's name, their labels, and the protocol.

    Two models were scored alike if, and only if, theirs is the same. Where the images are packed does not count.

    Args:
        table: the scenario's rows with all columns of the manifest; those that training saw are left out.
        options: split and protocol.
        scenario: names the protocol.

    Returns:
        "" where no labelled image is there to score on.
    """
    rows = table[table["split"].isin(SPLITS[options.split]) & (table["person"] >= 0)].drop(columns="shard")
    if rows.empty:
        return ""
    text = rows.sort_values(["path", "group"], kind="stable").to_csv(index=False)
    return hashlib.sha256(f"{options.split}\n{options.protocol_of(scenario)}\n{text}".encode()).hexdigest()


def _recorded(metrics: Mapping[str, Any], settings: Settings, layout: Layout, scenario: str) -> ScenarioScores:
    score = metrics["heterogeneous"]
    return ScenarioScores(
        mAP=None if score is None else score["mAP"],
        evaluation="" if score is None else present_evaluation(settings, layout, scenario),
        health=dict(flat(metrics.get("health", {}).get("heterogeneous", {}))),  # of the stage that made the model
    )


def _score(encoder: Encoder, card: ModelCard, settings: Settings, layout: Layout, scenario: str) -> float | None:
    """The mAP of a model in one scenario; None where the labels do not fit the protocol."""
    images = load_evaluation(
        layout.evaluation_table(scenario),
        layout.data(scenario),
        height=card.model.height,
        width=card.model.width,
        splits=SPLITS[settings.evaluate.split],
    )
    if not set(images.group_names) <= set(card.scenarios[scenario]):
        raise InputError(
            f"{scenario}: the data have the groups {', '.join(images.group_names)}, the model knows "
            f"{', '.join(card.scenarios[scenario])}. It cannot be evaluated on them."
        )
    number = encoder.scenarios.index(scenario)
    features = extract(encoder, images.images, scenario=number, group=images.group)[0].numpy()
    try:
        protocol = protocol_named(settings.evaluate.protocol_of(scenario))
        found = score_one(features, images, settings.evaluate, protocol)
    except InputError as reason:
        logger.warning("%s: no score: %s", scenario, reason)
        return None
    return float(str(found["mAP"]))


def _accepted(report: Path) -> bool:
    try:
        return json.loads(report.read_text(encoding="utf-8"))["accepted"] is True
    except FileNotFoundError as error:
        raise InputError(f"{report}: not found. Run `dvc repro`.") from error


def _architecture(card: ModelCard) -> str:
    return f"{card.model.name} {card.model.height}x{card.model.width}"
