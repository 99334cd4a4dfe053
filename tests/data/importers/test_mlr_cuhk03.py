"""MLR-CUHK03: packed in either shape, and made of CUHK03."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from itkm.data.importers import cuhk03, mlr_cuhk03
from itkm.data.importers.source import Part
from itkm.errors import InputError
from planted import content, facts, imported, plant

PACKED = (
    "train/lr/0001_c1_0001_2x.png",
    "train/hr/0001_c2_0002.png",
    "query/lr/0000_c2_0001_4x.png",
    "gallery/hr/0000_c1_0001.png",
)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"train": Part("train", 1, None), "query": Part("query", 1, None), "gallery": Part("gallery", 1, None)}
    monkeypatch.setattr(mlr_cuhk03, "PARTS", parts)


@pytest.mark.usefixtures("counted")
def test_packed_by_resolution(tmp_path: Path) -> None:
    plant(tmp_path / "MLR_CUHK03", *PACKED)
    frame, warnings = imported(mlr_cuhk03.FORMAT, tmp_path, tmp_path / "cr")
    assert warnings == ()
    assert facts(frame) == [
        ("gallery/hr/0000_c1_0001.png", "gallery", "high", "c1", 1467),  # an identity, not a distractor
        ("query/lr/0000_c2_0001_4x.png", "query", "low", "c2", 1467),
        ("train/hr/0001_c2_0002.png", "train", "high", "c2", 1),
        ("train/lr/0001_c1_0001_2x.png", "train", "low", "c1", 1),
    ]
    name = "query/lr/0000_c2_0001_4x.png"
    assert content(frame, tmp_path / "cr", name) == (tmp_path / "MLR_CUHK03" / name).read_bytes()


@pytest.mark.usefixtures("counted")
def test_packed_in_the_folders_of_market(tmp_path: Path) -> None:
    names = ("bounding_box_train/0001_c1_01_3x.png", "bounding_box_train/0001_c2_06.png", "query/0002_c1_01_2x.png")
    plant(tmp_path / "mlr", *names, "bounding_box_test/0002_c2_06.png")
    frame, _ = imported(mlr_cuhk03.FORMAT, tmp_path / "mlr", tmp_path / "cr")
    assert facts(frame) == [
        ("bounding_box_test/0002_c2_06.png", "gallery", "high", "c2", 2),
        ("bounding_box_train/0001_c1_01_3x.png", "train", "low", "c1", 1),
        ("bounding_box_train/0001_c2_06.png", "train", "high", "c2", 1),
        ("query/0002_c1_01_2x.png", "query", "low", "c1", 2),
    ]


def test_a_wrong_packed_copy_is_refused(tmp_path: Path) -> None:
    plant(tmp_path / "mlr", *PACKED)
    with pytest.raises(
        InputError, match="not the published MLR-CUHK03: train has 1 identities, expected 1,367; query has"
    ):
        imported(mlr_cuhk03.FORMAT, tmp_path / "mlr", tmp_path / "cr")
    plant(tmp_path / "mlr", "train/hr/odd.png")
    with pytest.raises(InputError, match=r"odd\.png: expected a name such as 0002_c1s1_000451_03_2x\.jpg"):
        imported(mlr_cuhk03.FORMAT, tmp_path / "mlr", tmp_path / "cr")


def test_neither_packed_nor_cuhk03(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected cuhk-03\.mat"):
        imported(mlr_cuhk03.FORMAT, tmp_path, tmp_path / "cr")


def test_made_of_cuhk03(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "cuhk03"
    names = [f"{person}_{view}_{view * 5:02d}.png" for person in ("1_001", "1_002", "2_001") for view in (1, 2)]
    plant(root / "images_labeled", *names, "3_001_1_01.png", size=(40, 90))
    splits = [{"query": [["1_002_1_05.png", 0, 0]]}, {"query": [["2_001_1_05.png", 0, 0]]}]
    (root / "splits_classic_labeled.json").write_text(json.dumps(splits))
    monkeypatch.setattr(cuhk03, "WHOLE", {"labeled": Part("labeled", 4, 7)})
    monkeypatch.setattr(cuhk03, "PARTS", {"train": Part("train", 3, None), "test": Part("test", 1, None)})
    frame, warnings = imported(mlr_cuhk03.FORMAT, root, tmp_path / "cr")
    assert warnings == ()
    assert facts(frame) == [
        ("images_labeled/1_001_1_05.png", "train", "high", "c1", 1001),
        ("images_labeled/1_001_2_10.png (bilinear 1/3)", "train", "low", "c2", 1001),
        ("images_labeled/1_002_1_05.png (bilinear 1/4)", "query", "low", "c1", 1002),
        ("images_labeled/1_002_2_10.png", "gallery", "high", "c2", 1002),
        ("images_labeled/2_001_1_05.png", "train", "high", "c3", 2001),
        ("images_labeled/2_001_2_10.png (bilinear 1/3)", "train", "low", "c4", 2001),
        ("images_labeled/3_001_1_01.png", "train", "high", "c5", 3001),  # of one camera
    ]
    sizes = frame.set_index("source")["resolution"]
    assert sizes["images_labeled/1_002_1_05.png (bilinear 1/4)"] == "10x22"
    assert sizes["images_labeled/1_002_2_10.png"] == "40x90"
    second, _ = imported(mlr_cuhk03.FORMAT, root, tmp_path / "second", trial=2)
    assert set(second.loc[second["split"] != "train", "person"]) == {2001}
