"""A finished project with made-up persons and results, as the stages before the report leave it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from itkm.config import Settings
from itkm.data.groups import GROUP_ORDER
from itkm.data.shards import write_scenario
from itkm.data.training import split_tables
from itkm.files import replacing, write_csv, write_json, write_npz
from itkm.stages.layout import Layout

PERSONS = 12
SPLITS = ("train", "query", "gallery")
MODELS = ("zero_shot", "homogeneous", "heterogeneous")


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Layout]:
    """A project of three scenarios with every file that stage `report` reads."""
    return make_project(tmp_path_factory.mktemp("project"), ("vi", "cc", "cr"))


def make_project(root: Path, scenarios: tuple[str, ...]) -> tuple[Settings, Layout]:
    layout = Layout(root)
    metrics: dict[str, object] = {}
    for number, scenario in enumerate(scenarios):
        rng = np.random.default_rng(number)
        manifest = write_scenario(draw_scenario(scenario, rng), layout.data(scenario))
        _, table = split_tables(manifest)
        with replacing(layout.evaluation_table(scenario)) as temporary:
            table.to_parquet(temporary, index=False)
        write_npz(layout.scored(scenario), scored_arrays(table, rng))
        write_npz(layout.heterogeneous / f"{scenario}.npz", final_arrays(table, scenario, rng))
        metrics[scenario] = scenario_metrics(scenario, rng)
    average = {
        model: {name: own[name] for name in ("rank1", "rank5", "mAP", "mINP")} for model, own in scores(0.3).items()
    }
    write_json(layout.metrics, {"scenarios": metrics, "average": average, "split": "test", "rendered": True})
    write_histories(layout, scenarios)
    return Settings(scenarios=scenarios), layout


def draw_scenario(scenario: str, rng: np.random.Generator) -> Iterator[tuple[dict[str, object], bytes]]:
    colours = rng.integers(30, 240, (PERSONS + 1, 3, 3))
    for split in SPLITS:
        for group_number, group in enumerate(GROUP_ORDER[scenario]):
            if (split, group_number) in (("query", 0), ("gallery", 1)):
                continue
            for person in range(1, PERSONS + 1):
                for shot in range(4):
                    identity = person if split == "train" else 100 + person
                    row = {
                        "scenario": scenario,
                        "group": group,
                        "camera": f"{group}-{shot % 2}",
                        "split": split,
                        "person": identity,
                        "clothes": -1,
                        "resolution": "",
                        "timestamp": "",
                        "caption": "",
                        "source": f"rendered/{identity}_{shot}.jpg",
                    }
                    yield row, draw_person(colours[person], grey=group == "infrared", small=group == "low", rng=rng)


def draw_person(colours: np.ndarray, *, grey: bool, small: bool, rng: np.random.Generator) -> bytes:
    image = Image.new("RGB", (64, 128), tuple(int(value) for value in rng.integers(90, 200, 3)))
    pen = ImageDraw.Draw(image)
    shift = int(rng.integers(-6, 7))
    for box, colour in zip(((18, 32, 46, 74), (22, 74, 42, 118), (25, 10, 39, 30)), colours, strict=True):
        left, top, right, bottom = box
        pen.rounded_rectangle((left + shift, top, right + shift, bottom), 6, fill=tuple(int(c) for c in colour))
    if grey:
        image = image.convert("L").convert("RGB")
    if small:
        image = image.resize((20, 40))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def scored_arrays(table: pd.DataFrame, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Features of each person plus noise, less of it for each later model."""
    arrays: dict[str, np.ndarray] = {}
    centres = rng.normal(size=(200, 24))
    cameras = sorted(table["camera"].unique())
    for part in ("query", "gallery"):
        rows = table[table["split"] == part]
        persons = rows["person"].to_numpy()
        arrays[f"{part}_path"] = arrays[f"{part}_source"] = rows["path"].to_numpy(dtype=np.str_)
        arrays[f"{part}_clothes"] = rows["clothes"].to_numpy()
        arrays[f"{part}_person"] = persons
        arrays[f"{part}_camera"] = np.array([cameras.index(camera) for camera in rows["camera"]])
        for noise, model in zip((2.2, 1.6, 1.0), MODELS, strict=True):
            features = centres[persons] + noise * rng.normal(size=(len(rows), 24))
            arrays[f"{model}_{part}"] = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    return arrays


def final_arrays(table: pd.DataFrame, scenario: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A cluster per person with some members exchanged, and partners and pairs of which some are wrong."""
    rows = table[table["split"] == "train"].reset_index(drop=True)
    group = np.array([GROUP_ORDER[scenario].index(name) for name in rows["group"]])
    labels = rows["person"].to_numpy() - 1
    wrong = rng.permutation(len(rows))[: len(rows) // 6]
    labels[wrong] = rng.integers(-1, PERSONS, len(wrong))
    partner = np.arange(PERSONS)
    partner[:4] = partner[[1, 0, 3, 2]]
    firsts, seconds = np.flatnonzero(group == 0), np.flatnonzero(group == 1)
    pairs = np.stack([firsts, np.where(rng.random(len(firsts)) < 0.7, seconds, rng.permutation(seconds))], axis=1)
    score = rng.uniform(0.4, 0.9, len(pairs)).astype(np.float32)
    return {
        "labels": labels,
        "group": group,
        "partner_0": partner,
        "partner_1": np.argsort(partner),
        "pairs": pairs,
        "pair_score": score,
    }


def scenario_metrics(scenario: str, rng: np.random.Generator) -> dict[str, object]:
    quality = {"clusters": 118.0, "outliers": 0.083, "purity": 0.91, "nmi": 0.952, "ari": 0.83}
    groups = dict.fromkeys(GROUP_ORDER[scenario], quality)
    match = {"pairs": 97.0, "precision": 0.81, "recall": 0.66}
    matches = {"chm": match, "ihm": match | {"pairs": 2210.0}}
    return scores(float(rng.uniform(0.2, 0.4))) | {
        "clusters": groups,
        "clusters_homogeneous": groups,
        "matches": matches,
    }


def scores(start: float) -> dict[str, dict[str, float | str]]:
    """Scores of the four models, each better than the one before."""
    return {
        model: {
            "protocol": "cross-group",
            "queries": 240,
            "skipped": 0,
            "gallery": 240,
            **{
                name: start + step + extra
                for name, extra in {"rank1": 0.02, "rank5": 0.2, "mAP": 0, "mINP": -0.1}.items()
            },
        }
        for model, step in {
            "zero_shot": 0,
            "zero_shot_centred": 0.05,
            "homogeneous": 0.08,
            "heterogeneous": 0.24,
        }.items()
    }


def write_histories(layout: Layout, scenarios: tuple[str, ...]) -> None:
    groups = [(scenario, group) for scenario in scenarios for group in GROUP_ORDER[scenario]]
    fall: Callable[[int], float] = lambda epoch: 4 * 0.8**epoch  # noqa: E731
    count = {
        (epoch, *own): {
            "images": 720,
            "clusters": 100 + 20 * (epoch + place) % 37,
            "outliers": 0.3 * 0.85 ** (epoch + place),
        }
        for epoch in range(1, 9)
        for place, own in enumerate(groups)
    }
    first = [
        {"epoch": epoch, "scenario": scenario, "group": group, **values, "loss": fall(epoch)}
        for (epoch, scenario, group), values in count.items()
    ]
    losses = {"loss_homogeneous": 0.5, "loss_cluster": 0.9, "loss_instance": 0.8, "loss_text": 0.6}
    third = [
        row
        | {name: factor * float(row["loss"]) for name, factor in losses.items()}
        | {"cluster_pairs": 60 + 5 * int(row["epoch"]), "instance_pairs": 900 + 111 * int(row["epoch"])}
        for row in first
    ]
    prompts = [
        {
            "epoch": epoch,
            "loss": fall(epoch),
            "loss_image_text": 0.5 * fall(epoch),
            "loss_text_image": 0.4 * fall(epoch),
            "loss_separation": 0.1 * fall(epoch),
            "between_scenarios": 0.9 * 0.95**epoch,
        }
        for epoch in range(1, 21)
    ]
    write_csv(layout.homogeneous / "history.csv", first)
    write_csv(layout.prompts / "history.csv", prompts)
    write_csv(layout.heterogeneous / "history.csv", third)
