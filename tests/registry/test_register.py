"""A finished run becomes a version: what it needs, what it carries, and what evaluates it again."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from itkm.config import Settings
from itkm.data.groups import GROUP_ORDER
from itkm.data.manifest import COLUMNS, read_manifest, read_table, write_manifest
from itkm.errors import InputError
from itkm.evaluation.protocols import protocol_named
from itkm.evaluation.ranking import score_as_published
from itkm.files import sha256, write_json
from itkm.models.store import build_encoder, load_model, make_card, save_model
from itkm.registry import register as registering
from itkm.registry.promotion import promote
from itkm.registry.register import register, require_locked
from itkm.registry.rules import Scores
from itkm.registry.scores import evaluation_hash, recorded_scores, scores_again
from itkm.registry.store import CHALLENGER, CHAMPION, Registry, Version, hash_files
from itkm.retrieval.embed import embed_images
from itkm.retrieval.images import list_scenario
from itkm.retrieval.model import open_model
from itkm.stages.layout import Layout
from itkm.tracking import track_run
from toy import make_project, make_settings, prepare

pytest.importorskip("dvc")

STAGE = """
stages:
  evaluate:
    cmd: "true"
    outs: [artifacts/model]
    metrics: [{reports/metrics.json: {cache: false}}]
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which `dvc repro` finished, of one scenario whose persons 1 to 3 are searched for."""
    root = tmp_path_factory.mktemp("finished")
    layout = make_project(root, scenarios=("vi",))
    frame = read_manifest(layout.data("vi"))
    frame["split"] = np.where(frame["person"] > 3, "train", np.where(frame["group"] == "infrared", "query", "gallery"))
    write_manifest(frame, layout.data("vi"))
    prepare(layout, "vi")
    write_model(layout, seed=1)
    write_json(layout.validation("vi"), {"accepted": True})
    write_metrics(layout, 0.5)
    from dvc.repo import Repo

    with contextlib.chdir(root):
        repo = Repo.init(no_scm=True)
        (root / "dvc.yaml").write_text(STAGE)
        Repo(str(root)).commit(force=True)
        repo.close()
    return root


def write_model(layout: Layout, *, seed: int) -> None:
    settings = make_settings(layout.root, scenarios=("vi",)).model
    torch.manual_seed(seed)
    encoder, clip = build_encoder(settings, ("vi",))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    save_model(encoder, clip, make_card(settings, {"vi": GROUP_ORDER["vi"]}), layout.model)


def write_metrics(layout: Layout, mean_ap: float | None, **more: Any) -> None:
    score = None if mean_ap is None else {"protocol": "cross-group", "mAP": mean_ap, "rank1": 0.5}
    content = {"scenarios": {"vi": {"heterogeneous": score, **more}}, "average": {"heterogeneous": score}}
    write_json(layout.metrics, content)


@pytest.fixture
def layout(finished: Path, root: Path) -> Layout:
    """A copy of the project, as the current folder, with an MLflow of its own."""
    shutil.copytree(finished, root, dirs_exist_ok=True)
    return Layout(root)


@pytest.fixture
def settings(layout: Layout) -> Settings:
    return make_settings(layout.root, scenarios=("vi",))


@pytest.fixture
def tracked(layout: Layout, settings: Settings) -> str:
    """The run that the stage `report` logged."""
    return track(layout, settings)


def track(layout: Layout, settings: Settings) -> str:
    page = layout.root / "page.html"
    page.write_text("<!doctype html>")
    return track_run(settings, json.loads(layout.metrics.read_text()), {}, page, root=layout.root)


def commit(layout: Layout) -> None:
    """What `dvc repro` leaves in dvc.lock after another training."""
    from dvc.repo import Repo

    Repo(str(layout.root)).commit(force=True)


def test_a_run_becomes_the_challenger_with_all_it_can_be_traced_back_to(
    layout: Layout, settings: Settings, tracked: str, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITKM_FLOW_RUN", "flow-1")
    monkeypatch.setenv("ITKM_IMAGE_DIGEST", "sha256:abc")
    found = register(settings, layout)
    version = found.version
    assert found.created and version.number == "1" and version.aliases == (CHALLENGER,)
    assert version.run_id == tracked
    assert version.tags["dvc.lock.sha256"] == sha256(layout.root / "dvc.lock")
    assert version.tags["manifest.vi"] == sha256(layout.data("vi") / "manifest.parquet")
    assert version.tags["model"] == sha256(layout.model / "model.safetensors")
    assert (version.tags["flow_run"], version.tags["image_digest"]) == ("flow-1", "sha256:abc")
    assert len(version.tags["data"]) == 64 and version.tags["git_commit"]
    assert version.scores.scenarios["vi"].mAP == 0.5
    assert version.scores.accepted and version.scores.architecture == "demo 32x16"
    uploaded = layout.root / "mlartifacts" / tracked / "artifacts" / "model"
    assert {file.name: file.read_bytes() for file in uploaded.iterdir()} == {
        file.name: file.read_bytes() for file in layout.model.iterdir()
    }
    assert not [file for file in (layout.root / "mlartifacts").rglob("*") if file.suffix in (".pkl", ".pt", ".bin")]


def test_registering_again_changes_nothing_and_another_training_is_another_version(
    layout: Layout, settings: Settings, tracked: str, registry: Registry
) -> None:
    assert tracked
    register(settings, layout)
    again = register(settings, layout)
    assert not again.created and again.version.number == "1"
    promote(registry, "1", settings.registry, evaluate=lambda _, old: old, root=layout.root)
    assert register(settings, layout).version.aliases == (CHAMPION,)
    champion = open_model(Path(f"models:/itkm@{CHAMPION}"))
    assert champion.fingerprint == sha256(layout.model / "model.safetensors")
    write_model(layout, seed=2)
    commit(layout)
    track(layout, settings)
    third = register(settings, layout)
    assert third.created and third.version.number == "2" and third.version.aliases == (CHALLENGER,)


@pytest.mark.usefixtures("tracked")
def test_cut_off_before_the_alias_the_next_call_sets_it(
    layout: Layout, settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "point", dies)
        with pytest.raises(KeyboardInterrupt):
            register(settings, layout)
    assert registry.holder(CHALLENGER) is None
    found = register(settings, layout)
    assert not found.created and found.version.aliases == (CHALLENGER,)


@pytest.mark.usefixtures("tracked")
def test_two_at_once_register_one_version(
    layout: Layout, settings: Settings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other registers when we have seen that the model is not there, and have not yet added it."""
    add = registering._add

    def late(*arguments: Any) -> Version:
        with monkeypatch.context() as other:
            other.setattr(registering, "_add", add)
            assert register(settings, layout).created
        return add(*arguments)

    monkeypatch.setattr(registering, "_add", late)
    registered = register(settings, layout)
    assert (registered.version.number, registered.created) == ("1", False)
    assert [version.number for version in registry.versions()] == ["1"]
    assert registry.aliases() == {CHALLENGER: "1"}


def test_a_run_that_mlflow_does_not_know_is_logged_first(
    layout: Layout, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []

    def log(settings: Settings, layout: Layout) -> str:
        logged.append(track(layout, settings))
        return logged[0]

    monkeypatch.setattr(registering, "_track", log)
    assert [register(settings, layout).version.run_id] == logged


def test_an_unknown_run_without_what_its_page_shows_is_refused(
    layout: Layout, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_file(*_: object) -> None:
        (layout.root / "gone.npz").read_bytes()

    monkeypatch.setattr(registering, "make_report", no_file)
    with pytest.raises(InputError, match=r"gone.npz: not found, and MLflow does not know this run.*dvc pull"):
        register(settings, layout)


def test_what_is_not_in_dvc_lock_is_refused(layout: Layout, settings: Settings) -> None:
    require_locked(layout)
    write_model(layout, seed=3)
    with pytest.raises(InputError, match=r"artifacts/model: not what .*dvc.lock says. Run `dvc repro`"):
        register(settings, layout)
    commit(layout)
    write_metrics(layout, 0.9)
    with pytest.raises(InputError, match=r"metrics.json: not what"):
        register(settings, layout)
    (layout.root / "dvc.lock").unlink()
    with pytest.raises(InputError, match=r"dvc.lock: not found. Train with `dvc repro`"):
        register(settings, layout)


@pytest.mark.parametrize("name", ["model.pkl", "code.py", "nested/config.json"])
def test_a_model_is_safetensors_and_json_alone(layout: Layout, name: str) -> None:
    assert set(hash_files(layout.model)) == {"config.json", "model.safetensors"}
    (layout.model / name).parent.mkdir(exist_ok=True)
    (layout.model / name).write_text("{}")
    with pytest.raises(InputError, match="not part of a model, which is safetensors and JSON"):
        hash_files(layout.model)


def test_no_model_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no model. Expected config.json and model.safetensors, as `dvc repro`"):
        hash_files(tmp_path / "artifacts" / "model")


def test_without_labelled_images_health_is_recorded(layout: Layout, settings: Settings) -> None:
    final = {"visible": {"stability": 0.8, "outliers": None}, "infrared": {"stability": 0.7}}
    write_metrics(layout, None, health={"homogeneous": {"visible": {"stability": 0.1}}, "heterogeneous": final})
    metrics = json.loads(layout.metrics.read_text())
    own = recorded_scores(settings, layout, metrics, load_model(layout.model)[2]).scenarios["vi"]
    assert (own.mAP, own.evaluation) == (None, "")
    assert own.health == {"visible.stability": 0.8, "visible.outliers": None, "infrared.stability": 0.7}


def test_data_that_validation_refused_are_recorded_as_such(layout: Layout, settings: Settings) -> None:
    metrics = json.loads(layout.metrics.read_text())
    card = load_model(layout.model)[2]
    assert recorded_scores(settings, layout, metrics, card).accepted
    write_json(layout.validation("vi"), {"accepted": False})
    assert not recorded_scores(settings, layout, metrics, card).accepted
    layout.validation("vi").unlink()
    with pytest.raises(InputError, match=r"vi.json: not found. Run `dvc repro`"):
        recorded_scores(settings, layout, metrics, card)


def test_the_evaluation_set_is_told_by_what_is_scored(layout: Layout, settings: Settings) -> None:
    table = read_table(layout.evaluation_table("vi"), COLUMNS)
    own = evaluation_hash(table, settings.evaluate, "vi")

    def of(**changes: object) -> str:
        return evaluation_hash(table.assign(**changes), settings.evaluate, "vi")

    assert len(own) == 64
    assert evaluation_hash(table.sample(frac=1, random_state=1), settings.evaluate, "vi") == own
    assert of(shard="elsewhere.tar") == own
    more = table.assign(path=[f"new/{number}.jpg" for number in range(len(table))], split="train")
    assert evaluation_hash(table[table["split"] != "train"], settings.evaluate, "vi") == own
    assert evaluation_hash(more, settings.evaluate, "vi") == "", "nothing to score on"
    assert of(person=table["person"] + 1) != own
    assert of(camera="c1") != own
    assert (
        evaluation_hash(
            table[table["path"] != table["path"][table["split"] == "query"].iloc[0]], settings.evaluate, "vi"
        )
        != own
    )
    other = settings.evaluate.model_copy(update={"protocol": "market1501"})
    assert evaluation_hash(table, other, "vi") != own


def test_another_evaluation_is_what_embed_and_score_find(layout: Layout, settings: Settings) -> None:
    model = open_model(layout.model)
    sets = [embed_images(list_scenario(layout.data("vi"), [split]), model).images for split in ("query", "gallery")]
    expected = score_as_published(*sets, protocol_named("cross-group")).as_dict()["mAP"]
    metrics = json.loads(layout.metrics.read_text())
    old = recorded_scores(settings, layout, metrics, load_model(layout.model)[2])
    stale = {"vi": old.scenarios["vi"].model_copy(update={"evaluation": "other"})}
    found = scores_again(layout.model, old.model_copy(update={"scenarios": stale}), settings, layout)
    assert found.scenarios["vi"].mAP == pytest.approx(expected, abs=1e-6)
    assert found.scenarios["vi"].evaluation == old.scenarios["vi"].evaluation
    assert scores_again(layout.model, old, settings, layout) == old, "scored on this set: nothing to do"


def test_a_champion_of_another_evaluation_set_is_evaluated_again_before_it_is_judged(
    layout: Layout, settings: Settings, registry: Registry
) -> None:
    track(layout, settings)
    register(settings, layout)

    def evaluate(folder: Path, old: Scores) -> Scores:
        return scores_again(folder, old, settings, layout)

    promote(registry, "1", settings.registry, evaluate=evaluate, root=layout.root)
    frame = read_manifest(layout.data("vi"))
    write_manifest(frame[frame["person"] != 3], layout.data("vi"))
    prepare(layout, "vi")
    write_model(layout, seed=2)
    write_metrics(layout, 0.1)
    commit(layout)
    track(layout, settings)
    register(settings, layout)
    found = promote(registry, CHALLENGER, settings.registry, evaluate=evaluate, root=layout.root)
    assert "vi: the champion was scored on another evaluation set" in found.decision.reasons[0]
    assert found.decision.scores["vi"]["candidate"] == 0.1, "scored on the present set already"
    again = registry.version("1").scores.scenarios["vi"]
    assert again.evaluation == registry.version("2").scores.scenarios["vi"].evaluation
    assert again.mAP == found.decision.scores["vi"]["champion"] != 0.5
