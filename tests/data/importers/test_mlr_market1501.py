"""MLR-Market1501: packed, and made of Market-1501."""

from __future__ import annotations

from pathlib import Path

import pytest

from itkm.data.importers import market1501, mlr_market1501
from itkm.data.importers.source import Part
from itkm.errors import InputError
from planted import facts, imported, plant

TRAIN = ("0002_c1s1_000451_03.jpg", "0002_c1s1_000551_01.jpg", "0002_c3s1_000551_01.jpg", "0007_c3s3_077419_03.jpg")
QUERY = ("0001_c1s1_001051_00.jpg", "0001_c2s1_000301_00.jpg")
GALLERY = (
    "-1_c1s1_000401_03.jpg",
    "0000_c1s1_000151_01.jpg",
    "0001_c1s1_001051_03.jpg",
    "0001_c2s1_000301_01.jpg",
    "0001_c3s1_1.jpg",
)


@pytest.fixture
def market(tmp_path: Path) -> Path:
    root = tmp_path / "Market-1501-v15.09.15"
    for folder, names in (("bounding_box_train", TRAIN), ("query", QUERY), ("bounding_box_test", GALLERY)):
        plant(root / folder, *names, size=(64, 128))
    return root


def test_made_of_market(market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="not the published Market-1501"):
        imported(mlr_market1501.FORMAT, market, tmp_path / "cr")
    parts = {
        "train": Part("bounding_box_train", 2, 4),
        "query": Part("query", 1, 2),
        "gallery": Part("bounding_box_test", 1, 4),
    }
    monkeypatch.setattr(market1501, "PARTS", parts)
    frame, _ = imported(mlr_market1501.FORMAT, market.parent, tmp_path / "cr")
    assert facts(frame) == [
        ("bounding_box_test/0000_c1s1_000151_01.jpg", "gallery", "high", "c1", 0),
        ("bounding_box_test/0001_c1s1_001051_03.jpg", "gallery", "high", "c1", 1),
        ("bounding_box_test/0001_c3s1_1.jpg", "gallery", "high", "c3", 1),
        ("bounding_box_train/0002_c1s1_000451_03.jpg", "train", "high", "c1", 2),
        ("bounding_box_train/0002_c1s1_000551_01.jpg", "train", "high", "c1", 2),
        ("bounding_box_train/0002_c3s1_000551_01.jpg (lanczos 1/3)", "train", "low", "c3", 2),
        ("bounding_box_train/0007_c3s3_077419_03.jpg", "train", "high", "c3", 7),  # of one camera
        ("query/0001_c2s1_000301_00.jpg (lanczos 1/2)", "query", "low", "c2", 1),
    ]


def test_packed(market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (market / "bounding_box_train/0002_c3s1_000551_01.jpg").rename(
        market / "bounding_box_train/0002_c3s1_000551_01_4x.jpg"
    )
    (market / "query/0001_c1s1_001051_00.jpg").rename(market / "query/0001_c1s1_001051_00_2x.jpg")
    with pytest.raises(InputError, match="not the published MLR-Market1501: bounding_box_train has 2 identities"):
        imported(mlr_market1501.FORMAT, market, tmp_path / "cr")
    monkeypatch.setattr(mlr_market1501, "PARTS", {"train": Part("bounding_box_train", 2, 4)})
    frame, warnings = imported(mlr_market1501.FORMAT, market, tmp_path / "cr")
    assert warnings == ()
    assert facts(frame) == [
        ("bounding_box_test/0000_c1s1_000151_01.jpg", "gallery", "high", "c1", 0),
        ("bounding_box_test/0001_c1s1_001051_03.jpg", "gallery", "high", "c1", 1),
        ("bounding_box_test/0001_c2s1_000301_01.jpg", "gallery", "high", "c2", 1),
        ("bounding_box_test/0001_c3s1_1.jpg", "gallery", "high", "c3", 1),
        ("bounding_box_train/0002_c1s1_000451_03.jpg", "train", "high", "c1", 2),
        ("bounding_box_train/0002_c1s1_000551_01.jpg", "train", "high", "c1", 2),
        ("bounding_box_train/0002_c3s1_000551_01_4x.jpg", "train", "low", "c3", 2),
        ("bounding_box_train/0007_c3s3_077419_03.jpg", "train", "high", "c3", 7),
        ("query/0001_c1s1_001051_00_2x.jpg", "query", "low", "c1", 1),
        ("query/0001_c2s1_000301_00.jpg", "query", "high", "c2", 1),
    ]
