"""Faults planted in a known share of the feeds of three cameras: what is found, and what is cried at in clean feeds.

Each camera is judged by limits that were calibrated without it, on the accepted data of the others. `pytest -s` prints
the tables.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import faults
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from itkm.cli.feed import PATTERN
from itkm.config import FeedSettings
from itkm.data.images import Encoded, decode_all
from itkm.feeds.calibrate import calibrate
from itkm.feeds.compare import compare
from itkm.feeds.feed import Feed
from itkm.feeds.names import read_names
from itkm.feeds.profile import profile_images
from itkm.feeds.reference import Embedder, cached_profile, load_reference
from itkm.feeds.suite import validate
from itkm.feeds.thresholds import Reference
from itkm.feeds.verdict import Verdict

CAMERAS = (("vi", "vi-c2", "visible"), ("vi", "vi-c6", "infrared"), ("cr", "cr-c1", "high"))
IMAGES = 160  # of a feed
ACCEPTED = 20  # of a camera and split
SHARE = 0.06
FOUND_BY = {
    "dark": "dark",
    "blurred": "blurred",
    "tiny": "height",
    "wrong modality": "modality",
    "grey": "modality",
    "grey as rgb": "modality",
    "duplicated": "copies",
    "re-encoded": "near_duplicates",
    "truncated": "decodable",
    "zero bytes": "decodable",
    "html": "decodable",
    "future": "past",
    "unknown camera": "known_camera",
    "mixed cameras": "one_camera",
    "evaluation overlap": "evaluation_overlap",
}
OF_COLOUR = ("wrong modality", "grey", "grey as rgb")


@dataclass(frozen=True)
class Trial:
    """One camera: its clean feed, the accepted data of all others, and limits from them."""

    drop: faults.Drop
    data: Path
    reference: Reference
    settings: FeedSettings

    def judge(self, drop: faults.Drop, embed: Callable[[Sequence[Encoded]], NDArray[np.float32]] | None) -> Verdict:
        """As `itkm feed validate` does, without its folder."""
        feed = Feed(drop.camera, drop.scenario, drop.group, "drop", "2026-03-03T08:00:00Z")
        rows = profile_images(drop.files.items(), workers=1)
        features = None if embed is None else embed([(name, lambda own=own: own) for name, own in drop.files.items()])
        profile = compare(read_names(rows, feed, {}, pattern=PATTERN), self.reference, features)
        return validate(profile, feed=feed, settings=self.settings, reference=self.reference, features=features)


def make_trial(folder: Path, scenario: str, camera: str, group: str, *, embedder: Embedder | None = None) -> Trial:
    data = faults.accepted(folder, scenario, without=camera, limit=ACCEPTED)
    limits = calibrate({scenario: cached_profile(data, folder / "cache")})
    reference = load_reference(data, group=group, embedder=embedder, cache=folder / "cache")
    drop = faults.clean_drop(scenario, camera, images=IMAGES)
    return Trial(drop, data, reference, FeedSettings(**limits))


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    return [make_trial(tmp_path_factory.mktemp(camera), *place) for place in CAMERAS for camera in place[1:2]]


def with_all_faults(trial: Trial) -> faults.Drop:
    drop = trial.drop
    for fault in FOUND_BY:
        two_modalities = drop.scenario == "vi" and (fault == "wrong modality" or drop.group == "visible")
        if fault not in OF_COLOUR or two_modalities:
            drop = faults.plant(drop, fault, SHARE, data=trial.data)
    return drop


def show(title: str, header: str, lines: list[str]) -> None:
    sys.stdout.write("\n".join(["", title, header, *lines, ""]))


def test_planted_faults_are_found(trials: list[Trial]) -> None:
    found: dict[str, list[bool]] = {fault: [] for fault in FOUND_BY}
    for trial in trials:
        drop = with_all_faults(trial)
        checks = {check.name: check for check in trial.judge(drop, None).checks}
        for fault, names in drop.planted.items():
            check = checks[FOUND_BY[fault]]
            assert check.passed is False, f"{drop.camera}: {fault} did not fail the check {check.name}"
            found[fault] += [name in check.offenders for name in names]
    lines = [f"{fault:20} {len(own):8} {np.mean(own):8.3f}" for fault, own in found.items()]
    show("Planted faults", f"{'fault':20} {'planted':>8} {'recall':>8}", lines)
    assert {fault: np.mean(own) for fault, own in found.items() if np.mean(own) < 0.95} == {}


def test_clean_feeds_give_no_alarm(trials: list[Trial]) -> None:
    verdicts = [trial.judge(trial.drop, None) for trial in trials]
    alarms = {
        name: [check.offender_count for verdict in verdicts for check in verdict.checks if check.name == name]
        for name in sorted(set(FOUND_BY.values()) | {"width", "order", "already_accepted"})
    }
    images = sum(len(trial.drop.files) for trial in trials)
    lines = [f"{name:20} {sum(own):8} {sum(own) / images:12.4f}" for name, own in alarms.items()]
    show(f"Clean feeds, {images} images", f"{'check':20} {'images':>8} {'false alarms':>12}", lines)
    assert {name: own for name, own in alarms.items() if sum(own) > 0.02 * images} == {}
    assert [verdict.status for verdict in verdicts] == ["accepted"] * len(verdicts)


def stored(digest: str) -> bytes:
    return (faults.REMOTE / digest[:2] / digest[2:]).read_bytes()


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    """The shipped CLIP, read from the remote that the repository carries."""
    from itkm.models.clip import load_clip
    from itkm.models.settings import ModelSettings
    from itkm.training.extraction import extract_frozen

    root = tmp_path_factory.mktemp("models")
    listing = (faults.ROOT / "models.dvc").read_text(encoding="utf-8")
    for entry in json.loads(stored(yaml.safe_load(listing)["outs"][0]["md5"])):
        file = root / entry["relpath"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(stored(entry["md5"]))
    clip = load_clip(ModelSettings(name="demo", weights=str(root / "demo")))

    def embed(images: Sequence[Encoded]) -> NDArray[np.float32]:
        return np.asarray(extract_frozen(clip, decode_all(images, height=96, width=48)).numpy())

    return Embedder(embed, "demo")


@pytest.mark.slow
def test_a_drifted_camera_is_told_from_a_new_one(tmp_path: Path, embedder: Embedder) -> None:
    lines, wrong = [], []
    for scenario, camera, group in CAMERAS[:2]:
        trial = make_trial(tmp_path / camera, scenario, camera, group, embedder=embedder)
        for kind, drop in (("clean", trial.drop), ("drifted", faults.plant(trial.drop, "drifted", 1.0))):
            verdict = trial.judge(drop, embedder.embed)
            (check,) = (check for check in verdict.checks if check.name == "drift")
            assert verdict.drift is not None
            numbers = (verdict.drift[name] for name in ("auc", "baseline_auc", "mmd", "baseline_mmd", "p", "ratio"))
            lines.append(f"{camera:8} {kind:8} " + " ".join(f"{number:12.3f}" for number in numbers))
            if check.passed is not (kind == "clean"):
                wrong.append((camera, kind, check.observed))
    header = f"{'camera':8} {'feed':8} " + " ".join(
        f"{name:>12}" for name in ("auc", "baseline_auc", "mmd", "baseline_mmd", "p", "ratio")
    )
    show("Drift of features", header, lines)
    assert wrong == []
