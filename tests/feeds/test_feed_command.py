from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import faults
import pandas as pd
import pytest

from itkm.cli import main
from itkm.data.groups import GROUP_ORDER
from itkm.evaluation.features import FeatureSet
from itkm.feeds.feed import PROFILE_FILE
from itkm.feeds.profile import COLUMNS
from itkm.models.store import build_encoder, make_card, save_model
from itkm.stages.layout import Layout
from toy import make_project, make_settings


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with accepted data of all cameras but vi-c1 and a model that was never trained, without DVC."""
    root = tmp_path_factory.mktemp("project")
    settings = make_settings(make_project(root / "toy", scenarios=("vi",)).root, scenarios=("vi",)).model
    encoder, clip = build_encoder(settings, ("vi",))
    save_model(encoder, clip, make_card(settings, {"vi": GROUP_ORDER["vi"]}), Layout(root).model)
    faults.accepted(root / "data", "vi", without="vi-c1", limit=30)
    (root / "params.yaml").write_text("scenarios: [vi]\n")
    return root


@pytest.fixture
def here(project: Path) -> Iterator[Path]:
    """The project, as the current folder."""
    with contextlib.chdir(project):
        yield project


def validate(source: Path, out: str, *options: str) -> int:
    names = ["--camera", "vi-c1", "--new-camera", "--scenario", "vi", "--group", "visible", "--out", out]
    return main(["feed", "validate", str(source), *names, *options])


def test_a_clean_feed_and_a_bad_one_to_the_verdict(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drop = faults.clean_drop("vi", "vi-c1", images=60)
    assert validate(drop.write(here / "good"), "feeds/good") in (0, 3)
    for fault in ("truncated", "evaluation overlap"):
        drop = faults.plant(drop, fault, 0.2, data=here / "data" / "vi")
    assert validate(drop.write(here / "bad"), "feeds/bad") == 4
    said = capsys.readouterr().out
    assert "refused:" in said and "images: 48 of 60 files; report: feeds/bad/report.html" in said
    verdict = json.loads((here / "feeds" / "bad" / "validation.json").read_text())
    assert verdict["status"] == "refused" and verdict["feed"]["camera"] == "vi-c1"
    profile = pd.read_parquet(here / "feeds" / "bad" / PROFILE_FILE)
    assert (
        tuple(profile.columns) == COLUMNS
        and set(profile.loc[~profile["decode_ok"], "path"]) == drop.planted["truncated"]
    )
    assert profile["embedding_distance"].notna().equals(profile["decode_ok"])
    features = FeatureSet.load(here / "feeds" / "bad" / "features.npz")
    assert features.path is not None and features.path.tolist() == profile.loc[profile["decode_ok"], "path"].tolist()
    assert set(profile.loc[profile["evaluation_overlap"], "path"]) == drop.planted["evaluation overlap"]
    assert main(["feed", "history", "vi-c1"]) == 0
    listed = capsys.readouterr().out
    assert listed.count("vi  ") == 2 and "refused" in listed and "%" in listed
    assert validate(here / "bad", "feeds/bad") == 4  # again: it is claimed, and judged anew
    assert main(["feed", "history", "vi-c1"]) == 0
    assert capsys.readouterr().out.splitlines()[-len(listed.splitlines()) :] == listed.splitlines()


def test_a_slip_of_the_pen_claims_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drop = faults.clean_drop("vi", "vi-c1", images=5).write(here / "slip")
    names = ["--camera", "vi-c22", "--scenario", "vi", "--group", "visible", "--out", "feeds/slip"]
    assert main(["feed", "validate", str(drop), *names]) == 2
    assert "Did you mean vi-c2?" in capsys.readouterr().err
    assert len(list(drop.iterdir())) == 5 and not (here / "feeds" / "slip").exists()
    assert validate(here / "nowhere", "feeds/slip") == 2 and not (here / "feeds" / "slip").exists()
    assert validate(drop, "feeds/slip", "--names", "(") == 2 and not (here / "feeds" / "slip").exists()


def test_outside_of_a_repository_nothing_is_accepted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["feed", "accept", "feeds/good"]) == 2
    assert "Run the command in the project's folder" in capsys.readouterr().err
    assert main(["feed", "history", "nobody"]) == 2


def test_the_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("validate", "accept", "history"):
        assert main(["feed", command, "--help"]) == 0
        assert f"itkm feed {command} " in capsys.readouterr().out.split("Example")[1]
