"""The three models on labelled images: zero-shot, after Stage I, after Stage III; and how good labels and matches were.

Here alone, and after all training, the hidden labels are read.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from itkm.config import EvaluateSettings, Settings
from itkm.data.evaluation import EvaluationImages, load_evaluation
from itkm.data.manifest import COLUMNS, RENDERED, read_table
from itkm.errors import InputError
from itkm.evaluation.features import FeatureSet
from itkm.evaluation.protocols import Protocol, protocol_named
from itkm.evaluation.quality import Group, cluster_match_quality, cluster_quality, instance_match_quality
from itkm.evaluation.ranking import score_as_published
from itkm.files import write_json, write_npz
from itkm.models.encoder import Encoder
from itkm.models.store import build_encoder, load_model
from itkm.report.table import MODELS, result_table
from itkm.stages.layout import Layout
from itkm.training.extraction import extract
from itkm.training.runtime import resolve_device

HEALTH = ("stability", "silhouette", "cycle_consistency", "agreement", "outliers")
AVERAGED = ("rank1", "rank5", "mAP", "mINP")
SPLITS = {"test": ("query", "gallery"), "validation": ("validation",)}

Features = NDArray[np.float32]
Integers = NDArray[np.int64]
Scored = dict[str, dict[str, object] | None]
Quality = dict[str, dict[str, float | None]]

logger = logging.getLogger(__name__)


def run(settings: Settings, layout: Layout) -> None:
    """Writes `artifacts/evaluation/<scenario>.npz` and `reports/metrics.json`, and logs the result table."""
    encoders = load_encoders(settings, layout)
    scenarios: dict[str, dict[str, object]] = {}
    scored: list[Scored] = []
    rendered = True
    for scenario in settings.scenarios:
        table = read_table(layout.evaluation_table(scenario), COLUMNS)
        rendered &= bool(table["source"].str.startswith(RENDERED).all())
        scored.append(score_models(encoders, settings, layout, scenario))
        scenarios[scenario] = {**scored[-1], **judge_labels(table, layout, scenario), **read_health(layout, scenario)}
    metrics = {
        "scenarios": scenarios,
        "average": {model: average([own[model] for own in scored]) for model in MODELS},
        "split": settings.evaluate.split,
        "rendered": rendered,
    }
    write_json(layout.metrics, metrics)
    logger.info("result\n\n%s", result_table(metrics))


def load_encoders(settings: Settings, layout: Layout) -> dict[str, Encoder]:
    """The encoder before training, after Stage I and after Stage III."""
    zero_shot, _ = build_encoder(settings.model, settings.scenarios)
    zero_shot.scenario_scale = 0.0  # an untrained scenario embedding is noise; without it this is CLIP itself
    encoders = {
        "zero_shot": zero_shot,
        "homogeneous": load_model(layout.homogeneous)[0],
        "heterogeneous": load_model(layout.model)[0],
    }
    device = resolve_device(settings.device)
    return {model: encoder.to(device).eval() for model, encoder in encoders.items()}


def score_models(encoders: Mapping[str, Encoder], settings: Settings, layout: Layout, scenario: str) -> Scored:
    """The scores of every model on one scenario; writes the features that the report's ranked lists need.

    Returns:
        for each key of `MODELS` what `itkm score --json` prints, or None where the images have no such labels.
    """
    options = settings.evaluate
    images = load_evaluation(
        layout.evaluation_table(scenario),
        layout.data(scenario),
        height=settings.model.height,
        width=settings.model.width,
        splits=SPLITS[options.split],
    )
    features: dict[str, Features] = {}
    for model, encoder in encoders.items():
        number = encoder.scenarios.index(scenario)
        features[model] = extract(encoder, images.images, scenario=number, group=images.group)[0].numpy()
    save_features(features, images, options, layout, scenario)
    features["zero_shot_centred"] = centre_groups(features["zero_shot"], images.group)
    try:
        protocol = protocol_named(options.protocol_of(scenario))
        return {model: score_one(features[model], images, options, protocol) for model in MODELS}
    except InputError as reason:
        logger.warning("%s: no scores, the result shows '-': %s", scenario, reason)
        return dict.fromkeys(MODELS)


def choose(images: EvaluationImages, options: EvaluateSettings) -> tuple[Integers, Integers]:
    """Rows of the queries and of the gallery.

    On `test` the manifest says which is which; on `validation` group 1 asks and group 0 answers.
    """
    is_query = images.split == "query" if options.split == "test" else images.group == 1
    return np.flatnonzero(is_query), np.flatnonzero(~is_query)


def score_one(
    features: Features, images: EvaluationImages, options: EvaluateSettings, protocol: Protocol
) -> dict[str, object]:
    """One model's scores under a protocol, in both directions where it is published so.

    Raises:
        InputError: the labels do not fit the protocol, or no query has a valid positive.
    """
    labelled = FeatureSet(features, images.person, images.camera, clothes=images.clothes, path=images.source)
    query, gallery = (labelled.rows(rows) for rows in choose(images, options))
    return score_as_published(query, gallery, protocol).as_dict()


def centre_groups(features: Features, group: Integers) -> Features:
    """Features [N, D] without their group's mean: a baseline [ours] that needs no training and no identity."""
    centred = features.copy()
    for number in np.unique(group):
        centred[group == number] -= features[group == number].mean(axis=0)
    return centred


def save_features(
    features: Mapping[str, Features],
    images: EvaluationImages,
    options: EvaluateSettings,
    layout: Layout,
    scenario: str,
) -> None:
    """Writes the features of the three models, query and gallery apart, with what a ranked list says of an image."""
    columns = {
        "path": images.paths,
        "source": images.source,
        "person": images.person,
        "camera": images.camera,
        "clothes": images.clothes,
    }
    arrays: dict[str, NDArray[np.generic]] = {}
    for part, rows in zip(("query", "gallery"), choose(images, options), strict=True):
        arrays |= {f"{part}_{name}": values[rows] for name, values in columns.items()}
        arrays |= {f"{model}_{part}": values[rows] for model, values in features.items()}
    write_npz(layout.scored(scenario), arrays)


def judge_labels(table: pd.DataFrame, layout: Layout, scenario: str) -> dict[str, Quality]:
    """Pseudo-labels and matches of one scenario against the hidden identities of its training images.

    Returns:
        `clusters` (final) and `clusters_homogeneous` (after Stage I): a dict per group name; `matches`: CHM and IHM.
    """
    training = table[table["split"] == "train"]
    persons = training["person"].to_numpy(dtype=np.int64)
    with np.load(layout.clusters(scenario), allow_pickle=False) as stored:
        early = stored["labels"]
    with np.load(layout.heterogeneous / f"{scenario}.npz", allow_pickle=False) as stored:
        final = dict(stored)
    if len(early) != len(persons) or final["path"].tolist() != training["path"].tolist():
        raise InputError(f"{scenario}: the labels are of other images than the evaluation table. Run `dvc repro`.")
    group = final["group"]
    names = [str(training["group"].iloc[np.flatnonzero(group == number)[0]]) for number in (0, 1)]
    return {
        "clusters": judge_clusters(final["labels"], group, persons, names),
        "clusters_homogeneous": judge_clusters(early, group, persons, names),
        "matches": judge_matches(final, persons),
    }


def judge_clusters(labels: Integers, group: Integers, persons: Integers, names: list[str]) -> Quality:
    """Number of clusters, share of outliers, and where identities are known purity, NMI and ARI of each group."""
    known = (persons >= 0).any()
    return {
        name: _finite(cluster_quality(labels[group == number], persons[group == number] if known else None))
        for number, name in enumerate(names)
    }


def judge_matches(final: Mapping[str, NDArray[np.int64]], persons: Integers) -> Quality:
    """Precision and recall of the matched clusters (CHM) and instances (IHM)."""
    rows = [np.flatnonzero(final["group"] == number) for number in (0, 1)]
    first, second = (Group(final["labels"][own], persons[own]) for own in rows)
    clusters = cluster_match_quality(first, second, partners_a=final["partner_0"], partners_b=final["partner_1"])
    places = [np.searchsorted(own, column) for own, column in zip(rows, final["pairs"].T, strict=True)]
    pairs = csr_array(
        (np.ones(len(final["pairs"]), dtype=bool), (places[0], places[1])), shape=(len(rows[0]), len(rows[1]))
    )
    instances = instance_match_quality(pairs, first.persons, second.persons)
    return {"chm": _finite(clusters), "ihm": _finite(instances)}


def read_health(layout: Layout, scenario: str) -> dict[str, dict[str, Quality]]:
    """What training itself saw of its labels and matches in the last epoch of Stages I and III, without any identity.

    Returns:
        `health`: for each of the two stages a dict per group name with those of `HEALTH` that the stage measured; empty
        where neither measured more than the share of outliers.
    """
    folders = {"homogeneous": layout.homogeneous, "heterogeneous": layout.heterogeneous}
    found: dict[str, Quality] = {}
    for stage, folder in folders.items():
        if not (folder / "history.csv").is_file():
            continue
        history = pd.read_csv(folder / "history.csv", dtype={"scenario": str, "group": str})
        measured = [name for name in HEALTH if name in history]
        if set(measured) <= {"outliers"}:
            continue
        last = history[(history["scenario"] == scenario) & (history["epoch"] == history["epoch"].max())]
        found[stage] = {
            str(row["group"]): _finite({name: float(row[name]) for name in measured}) for row in last.to_dict("records")
        }
    return {"health": found} if found else {}


def average(scores: Sequence[Mapping[str, Any] | None]) -> dict[str, float] | None:
    """The mean over the scenarios that have scores; None where none has."""
    scored = [own for own in scores if own is not None]
    return {name: float(np.mean([own[name] for own in scored])) for name in AVERAGED} if scored else None


def _finite(quality: Mapping[str, float]) -> dict[str, float | None]:
    """NaN as None: JSON knows no NaN."""
    return {name: None if math.isnan(value) else value for name, value in quality.items()}
