"""MLR-VIPeR, made of VIPeR."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from itkm.data.importers import mlr_viper
from itkm.data.importers.source import Part
from itkm.errors import InputError
from planted import facts, imported, plant

NAMES = ("cam_a/000_45.bmp", "cam_a/001_0.bmp", "cam_a/005_90.bmp", "cam_a/872_180.bmp")
NAMES_B = ("cam_b/000_135.bmp", "cam_b/001_90.bmp", "cam_b/005_180.bmp", "cam_b/872_90.bmp")


@pytest.fixture
def viper(tmp_path: Path) -> Path:
    plant(tmp_path / "VIPeR", *NAMES, *NAMES_B, size=(48, 128))
    return tmp_path / "VIPeR"


def test_halves_and_resolutions(viper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlr_viper, "PARTS", [Part("cam_a", 4, 4), Part("cam_b", 4, 4)])
    frame, warnings = imported(mlr_viper.FORMAT, viper.parent, tmp_path / "cr")
    assert warnings == ()
    assert facts(frame) == [
        ("cam_a/000_45.bmp", "gallery", "high", "c1", 1),
        ("cam_a/001_0.bmp", "train", "high", "c1", 2),
        ("cam_a/005_90.bmp", "train", "high", "c1", 6),
        ("cam_a/872_180.bmp (bicubic 1/4)", "query", "low", "c1", 873),
        ("cam_b/000_135.bmp (bicubic 1/3)", "query", "low", "c2", 1),
        ("cam_b/001_90.bmp (bicubic 1/4)", "train", "low", "c2", 2),
        ("cam_b/005_180.bmp (bicubic 1/3)", "train", "low", "c2", 6),
        ("cam_b/872_90.bmp", "gallery", "high", "c2", 873),
    ]
    random.seed(1)
    assert set(frame.loc[frame["split"] == "train", "person"]) == set(random.sample([1, 2, 6, 873], 2))


def test_a_wrong_copy_is_refused(viper: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not the published VIPeR: cam_a has 4 identities, expected 632"):
        imported(mlr_viper.FORMAT, viper, tmp_path / "cr")
    plant(viper, "cam_b/x.bmp")
    with pytest.raises(InputError, match=r"x\.bmp: expected a name such as 000_45\.bmp"):
        imported(mlr_viper.FORMAT, viper, tmp_path / "cr")
    with pytest.raises(InputError, match="expected cam_a, cam_b in it"):
        imported(mlr_viper.FORMAT, viper / "cam_a", tmp_path / "cr")


def test_an_unreadable_image_is_named(viper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlr_viper, "PARTS", [Part("cam_a", 4, 4), Part("cam_b", 4, 4)])
    for name in NAMES[1], NAMES_B[1]:
        (viper / name).write_bytes(b"broken")
    with pytest.raises(InputError, match=r"(?s)001_0\.bmp: cannot be decoded.*001_90\.bmp: cannot be decoded"):
        imported(mlr_viper.FORMAT, viper, tmp_path / "cr")
    frame, warnings = imported(mlr_viper.FORMAT, viper, tmp_path / "cr", allow_partial=True)
    assert len(frame) == 6 and len(warnings) == 2
