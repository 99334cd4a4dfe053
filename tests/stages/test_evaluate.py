from __future__ import annotations

import io
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from itkm.config import EvaluateSettings, Settings
from itkm.data.evaluation import load_evaluation
from itkm.data.manifest import COLUMNS, read_table
from itkm.data.shards import write_scenario
from itkm.data.training import split_tables
from itkm.errors import InputError
from itkm.evaluation.features import FeatureSet
from itkm.evaluation.protocols import protocol_named
from itkm.evaluation.ranking import score, score_as_published
from itkm.files import replacing, sha256, write_csv, write_npz
from itkm.models.clip import DemoConfig, build_demo, load_clip, save_demo
from itkm.models.settings import ModelSettings
from itkm.models.store import build_encoder, make_card, save_model
from itkm.stages import report
from itkm.stages.evaluate import average, centre_groups, judge_matches, read_health, run
from itkm.stages.layout import Layout
from itkm.training.extraction import to_pixels

PERSONS = 4
GROUPS = ("visible", "infrared")
SHOWN = ("query", "gallery")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Layout]:
    """A project after Stage III: `vi` with labels, `own` with training images of unknown persons alone."""
    root = tmp_path_factory.mktemp("project")
    torch.manual_seed(0)
    config = DemoConfig(words=("a", "person"))
    save_demo(build_demo(config), config, root / "clip")
    model = ModelSettings(weights=str(root / "clip"), height=64, width=32)
    settings = Settings(scenarios=("vi", "own"), device="cpu", model=model)
    layout = Layout(root)
    groups = dict.fromkeys(settings.scenarios, GROUPS)
    for folder in (layout.homogeneous, layout.model):
        encoder, clip = build_encoder(model, settings.scenarios)
        save_model(encoder, clip, make_card(model, groups), folder)
    for scenario in settings.scenarios:
        write_tables(write_scenario(images(scenario), layout.data(scenario)), scenario, layout)
    return settings, layout


@pytest.fixture
def copy(project: tuple[Settings, Layout], tmp_path: Path) -> tuple[Settings, Layout]:
    """The same project, for a test that changes its files."""
    shutil.copytree(project[1].root, tmp_path / "copy")
    return project[0], Layout(tmp_path / "copy")


def images(scenario: str) -> Iterator[tuple[dict[str, object], bytes]]:
    rng = np.random.default_rng(len(scenario))
    splits = ("train", "validation", "query", "gallery") if scenario == "vi" else ("train",)
    for split in splits:
        for group in GROUPS if split in ("train", "validation") else (GROUPS[split == "query"],):
            for person in range(1, PERSONS + 1):
                for shot in range(2):
                    name = f"{split}/{group}/{person}_{shot}.png"
                    known = person + 10 * min(2, splits.index(split)) if scenario == "vi" else -1
                    row = {"scenario": scenario, "group": group, "camera": f"{group}{shot}"}
                    row |= {"split": split, "person": known, "clothes": -1, "source": f"rendered/{name}"}
                    row |= dict.fromkeys(("resolution", "timestamp", "caption"), "")
                    stream = io.BytesIO()
                    Image.fromarray(rng.integers(0, 255, (64, 32, 3), dtype=np.uint8)).save(stream, "PNG")
                    yield row, stream.getvalue()


def write_tables(manifest: pd.DataFrame, scenario: str, layout: Layout) -> None:
    """The tables of stage `prepare`, labels that are right but for one outlier, and matches of which half are right."""
    training, evaluation = split_tables(manifest)
    for table, path in ((training, layout.training_table(scenario)), (evaluation, layout.evaluation_table(scenario))):
        with replacing(path) as temporary:
            table.to_parquet(temporary, index=False)
    names = training.merge(evaluation[["path", "source"]], on="path", validate="one_to_one")["source"]
    group = np.array([GROUPS.index(name) for name in training["group"]])
    labels = np.array([int(name.rsplit("/", 1)[1].split("_")[0]) - 1 for name in names])
    write_npz(layout.clusters(scenario), {"labels": labels, "group": group})
    place = {name.split("train/")[1]: row for row, name in enumerate(names)}
    labels[place["visible/1_0.png"]] = -1
    pairs = [("visible/1_0.png", "infrared/1_1.png"), ("visible/2_1.png", "infrared/3_0.png")]
    final = {
        "labels": labels,
        "group": group,
        "path": training["path"].to_numpy(dtype=np.str_),
        "partner_0": np.array([0, 2, 1, 3]),
        "partner_1": np.array([0, 2, 1, 3]),
        "pairs": np.array([[place[first], place[second]] for first, second in pairs]),
        "pair_score": np.ones(2, dtype=np.float32),
    }
    write_npz(layout.heterogeneous / f"{scenario}.npz", final)


@pytest.fixture(scope="module")
def metrics(project: tuple[Settings, Layout]) -> dict[str, dict[str, dict]]:
    settings, layout = project
    run(settings, layout)
    return json.loads(layout.metrics.read_text())


def test_scores_are_those_of_the_protocol_on_the_stored_features(
    metrics: dict[str, dict[str, dict]], project: tuple[Settings, Layout]
) -> None:
    with np.load(project[1].scored("vi")) as stored:
        query, gallery = (
            FeatureSet(stored[f"heterogeneous_{part}"], stored[f"{part}_person"], stored[f"{part}_camera"])
            for part in ("query", "gallery")
        )
    assert metrics["scenarios"]["vi"]["heterogeneous"] == score(query, gallery, protocol_named("cross-group")).as_dict()
    assert (len(query), len(gallery)) == (8, 8)


def test_zero_shot_is_the_frozen_clip(metrics: dict[str, dict[str, dict]], project: tuple[Settings, Layout]) -> None:
    settings, layout = project
    shown = load_evaluation(layout.evaluation_table("vi"), layout.data("vi"), height=64, width=32, splits=("query",))
    with torch.inference_mode():
        features, _ = load_clip(settings.model).eval().encode_image(to_pixels(shown.images, torch.device("cpu")))
    with np.load(layout.scored("vi")) as stored:
        cosine = (stored["zero_shot_query"] * torch.nn.functional.normalize(features, dim=1).numpy()).sum(axis=1)
    assert cosine == pytest.approx(1, abs=1e-5)


def test_a_scenario_without_labels_runs_through(
    metrics: dict[str, dict[str, dict]], project: tuple[Settings, Layout]
) -> None:
    own, vi = metrics["scenarios"]["own"], metrics["scenarios"]["vi"]
    assert [own[model] for model in ("zero_shot", "zero_shot_centred", "homogeneous", "heterogeneous")] == [None] * 4
    assert metrics["average"]["homogeneous"]["mAP"] == vi["homogeneous"]["mAP"]
    assert own["clusters"]["visible"] == {"clusters": 4, "outliers": 0.125}
    assert own["matches"]["chm"] == {"pairs": 4, "precision": None, "recall": None}


def test_the_reason_of_missing_scores_is_logged(
    project: tuple[Settings, Layout], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        run(*project)
    assert "own: no scores" in caplog.text
    assert "The persons are rendered" in caplog.text


def test_clusters_and_matches_are_judged_by_the_hidden_labels(metrics: dict[str, dict[str, dict]]) -> None:
    vi = metrics["scenarios"]["vi"]
    assert vi["clusters"]["visible"] == {"clusters": 4, "outliers": 0.125, "purity": 1, "nmi": 1, "ari": 1}
    assert vi["clusters_homogeneous"]["visible"]["outliers"] == 0
    assert vi["matches"]["chm"] == {"pairs": 4, "precision": 0.5, "recall": 0.5}
    assert vi["matches"]["ihm"] == {"pairs": 2, "precision": 0.5, "recall": 1 / 16}


def test_matches_of_interleaved_groups_are_found_in_their_group() -> None:
    """Rows of both groups alternate, so a pair's rows are not its places within the groups."""
    final = {
        "labels": np.array([0, 0, 1, 1]),
        "group": np.array([0, 1, 0, 1]),
        "partner_0": np.array([0, 1]),
        "partner_1": np.array([0, 1]),
        "pairs": np.array([[0, 1], [2, 3]]),
    }
    assert judge_matches(final, np.array([5, 5, 6, 6]))["ihm"] == {"pairs": 2, "precision": 1, "recall": 1}


def test_validation_asks_with_group_one(copy: tuple[Settings, Layout]) -> None:
    settings, layout = copy
    run(settings.model_copy(update={"evaluate": EvaluateSettings(split="validation")}), layout)
    source = read_table(layout.evaluation_table("vi"), COLUMNS).set_index("path")["source"]
    with np.load(layout.scored("vi")) as stored:
        assert all(source[path].startswith("rendered/validation/infrared") for path in stored["query_path"])
        assert all(source[path].startswith("rendered/validation/visible") for path in stored["gallery_path"])


def test_each_scenario_may_have_its_own_protocol_and_drawn_galleries(copy: tuple[Settings, Layout]) -> None:
    """Cameras visible0, visible1, infrared0, infrared1 are 3, 4, 1, 2; draws go by the files' own names."""
    settings, layout = copy
    options = EvaluateSettings(protocol={"vi": "llcm", "own": "prcc"})
    run(settings.model_copy(update={"evaluate": options}), layout)
    metrics = json.loads(layout.metrics.read_text())["scenarios"]
    shown = load_evaluation(layout.evaluation_table("vi"), layout.data("vi"), height=64, width=32, splits=SHOWN)
    with np.load(layout.scored("vi")) as stored:
        features = {part: stored[f"heterogeneous_{part}"] for part in SHOWN}
    query, gallery = (
        FeatureSet(features[part], shown.person[rows], shown.camera[rows], path=shown.source[rows])
        for part, rows in ((part, shown.split == part) for part in SHOWN)
    )
    assert set(query.camera) == {1, 2}
    assert set(gallery.camera) == {3, 4}
    assert all(name.startswith("rendered/") for name in shown.source)
    assert metrics["vi"]["heterogeneous"] == score_as_published(query, gallery, protocol_named("llcm")).as_dict()
    assert metrics["vi"]["heterogeneous"]["gallery"] == 2 * PERSONS
    assert metrics["own"]["heterogeneous"] is None


def test_the_same_inputs_give_the_same_bytes(project: tuple[Settings, Layout]) -> None:
    settings, layout = project
    digests = []
    for _ in range(2):
        run(settings, layout)
        digests.append((sha256(layout.metrics), sha256(layout.scored("vi"))))
    assert digests[0] == digests[1]


def test_labels_of_other_data_are_refused(copy: tuple[Settings, Layout]) -> None:
    settings, layout = copy
    with np.load(layout.heterogeneous / "vi.npz") as stored:
        final = dict(stored)
    write_npz(layout.heterogeneous / "vi.npz", {**final, "path": final["path"][::-1]})
    with pytest.raises(InputError, match="vi: the labels are of other images"):
        run(settings, layout)


def test_one_photographed_person_makes_the_persons_real(copy: tuple[Settings, Layout]) -> None:
    settings, layout = copy
    path = layout.evaluation_table("own")
    table = read_table(path, COLUMNS)
    table.assign(source=["camera", *table["source"][1:]]).to_parquet(path, index=False)
    run(settings, layout)
    assert json.loads(layout.metrics.read_text())["rendered"] is False


def test_the_report_can_be_written_from_it(copy: tuple[Settings, Layout], monkeypatch: pytest.MonkeyPatch) -> None:
    settings, layout = copy
    monkeypatch.setattr("itkm.stages.report.log_run", lambda *arguments, root: None)
    for folder in (layout.homogeneous, layout.prompts, layout.heterogeneous):
        write_csv(folder / "history.csv", [{"epoch": 1, "loss": 2.0}])
    run(settings, layout)
    report.run(settings, layout)
    page = layout.report.read_text(encoding="utf-8")
    assert "own" in page
    assert "No labelled query and gallery images." in page
    assert page.count("data:image/jpeg") > 50


def test_centring_removes_what_a_group_has_in_common() -> None:
    features = np.array([[1, 0], [3, 0], [0, 9]], dtype=np.float32)
    assert centre_groups(features, np.array([0, 0, 1])).tolist() == [[-1, 0], [1, 0], [0, 0]]


def test_nothing_scored_has_no_average() -> None:
    assert average([None, None]) is None


def test_health_is_that_of_the_last_epoch(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    places = [(epoch, scenario, group) for epoch in (1, 2) for scenario in ("vi", "7") for group in GROUPS]
    rows = [dict(zip(("epoch", "scenario", "group"), place, strict=True)) for place in places]
    write_csv(layout.homogeneous / "history.csv", [{**row, "outliers": 0.5, "loss": 1} for row in rows])
    assert read_health(layout, "vi") == {}
    measured = [
        {**row, "outliers": 0.1 * number, "stability": float("nan"), "loss": 1} for number, row in enumerate(rows)
    ]
    write_csv(layout.heterogeneous / "history.csv", measured)
    last = {"visible": {"outliers": 0.6, "stability": None}, "infrared": {"outliers": 0.7, "stability": None}}
    found = read_health(layout, "7")["health"]
    assert {stage: set(own) for stage, own in found.items()} == {"heterogeneous": set(GROUPS)}
    assert {name: own["stability"] for name, own in found["heterogeneous"].items()} == dict.fromkeys(GROUPS)
    assert [own["outliers"] for own in found["heterogeneous"].values()] == pytest.approx(
        [own["outliers"] for own in last.values()]
    )
