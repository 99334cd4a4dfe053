"""LLCM: training files tell identity and camera by name, test files by folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from itkm.data.importers import Request, import_dataset, llcm
from itkm.errors import InputError
from trees import NO_GROUPS, imported, renumbered, views
from trees import llcm as tree


def test_every_row(tmp_path: Path) -> None:
    assert views(imported("llcm", tree(tmp_path), tmp_path / "out")) == [
        ("vis/0351/0351_c06_s200656_f4830_vis.jpg", "train", "visible", "c6", 351, -1),
        ("vis/0351/0351_c01_s107200_f3012_vis.jpg", "train", "visible", "c1", 351, -1),
        ("vis/1064/1064_c09_s200656_f0100_vis.jpg", "train", "visible", "c9", 1064, -1),
        ("nir/0351/0351_c06_s200656_f4830_nir.jpg", "train", "infrared", "c6", 351, -1),
        ("nir/1064/1064_c02_s200656_f0200_nir.jpg", "train", "infrared", "c2", 1064, -1),
        ("test_nir/cam1/0002/0002_c01_s1_f1_nir.jpg", "query", "infrared", "c1", 2, -1),
        ("test_nir/cam2/0040/0040_c02_s1_f4_nir.jpg", "query", "infrared", "c2", 40, -1),
        ("test_vis/cam1/0002/0002_c01_s1_f1_vis.jpg", "gallery", "visible", "c1", 2, -1),
        ("test_vis/cam3/0002/0002_c03_s1_f2_vis.jpg", "gallery", "visible", "c3", 2, -1),
        ("test_vis/cam3/0002/0002_c03_s1_f9_vis.jpg", "gallery", "visible", "c3", 2, -1),
        ("test_vis/cam9/0040/0040_c09_s1_f3_vis.jpg", "gallery", "visible", "c9", 40, -1),
    ]


def test_a_folder_named_like_a_camera_above_the_set_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "cam7/0007").mkdir(parents=True)
    frame = imported("llcm", tree(tmp_path / "cam7/0007"), tmp_path / "out")
    assert set(frame["person"]) == {2, 40, 351, 1064}
    assert "c7" not in set(frame["camera"])


def test_other_numbers_only_warn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(tree(tmp_path), "vi", NO_GROUPS)
    summary = import_dataset("llcm", request, out=tmp_path / "out")
    assert "idx/train_vis.txt has 2 identities, expected 713" in summary.warnings
    assert "test_vis has 4 images, expected 8,680" in summary.warnings
    monkeypatch.setattr(llcm, "PARTS", renumbered(llcm.PARTS, [(2, 3), (2, 2), (2, 2), (2, 4)]))
    assert import_dataset("llcm", request, out=tmp_path / "out").warnings == ()


def test_faults_are_named(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (root / "idx/test_id.txt").write_text("2;40", encoding="utf-8")
    with pytest.raises(InputError, match=r"test_id\.txt: .*Expected identities with commas"):
        imported("llcm", root, tmp_path / "out")
    with (root / "idx/train_nir.txt").open("a", encoding="utf-8") as stream:
        stream.write("nir/0351/0351_c10_s200656_f4830_nir.jpg 0\n")
    with pytest.raises(InputError, match=r"nir/0351/0351_c10_.*: expected a name such as 0351_c06_.* c01 to c09"):
        imported("llcm", root, tmp_path / "out")
    shutil.rmtree(root / "test_nir")
    with pytest.raises(InputError, match="test_nir not found"):
        imported("llcm", root, tmp_path / "out")


def test_a_folder_in_place_of_the_identities_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (root / "idx/test_id.txt").unlink()
    (root / "idx/test_id.txt").mkdir()
    with pytest.raises(InputError, match=r"test_id\.txt: cannot be read \(Is a directory\)"):
        imported("llcm", root, tmp_path / "out")
