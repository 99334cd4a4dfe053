"""PRCC: outfits are groups, and the folder `val` (the training identities once more) stays out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from itkm.data.check import check_identities
from itkm.data.importers import Request, import_dataset, prcc
from itkm.errors import InputError
from trees import NO_GROUPS, imported, renumbered, views, write_images
from trees import prcc as tree


def test_every_row(tmp_path: Path) -> None:
    frame = imported("prcc", tree(tmp_path), tmp_path / "out")
    assert views(frame) == [
        ("rgb/train/002/A_cropped_rgb004.jpg", "train", "outfit-a", "A", 2, 2000),
        ("rgb/train/002/B_cropped_rgb010.jpg", "train", "outfit-a", "B", 2, 2000),
        ("rgb/train/002/C_cropped_rgb020.jpg", "train", "outfit-b", "C", 2, 2001),
        ("rgb/train/015/A_cropped_rgb001.jpg", "train", "outfit-a", "A", 15, 15000),
        ("rgb/test/B/001/cropped_rgb055.jpg", "query", "outfit-a", "B", 1, 1000),
        ("rgb/test/B/132/cropped_rgb060.jpg", "query", "outfit-a", "B", 132, 132000),
        ("rgb/test/C/001/cropped_rgb077.jpg", "query", "outfit-b", "C", 1, 1001),
        ("rgb/test/C/132/cropped_rgb080.jpg", "query", "outfit-b", "C", 132, 132001),
        ("rgb/test/A/001/cropped_rgb001.jpg", "gallery", "outfit-a", "A", 1, 1000),
        ("rgb/test/A/001/cropped_rgb009.jpg", "gallery", "outfit-a", "A", 1, 1000),
        ("rgb/test/A/132/cropped_rgb003.jpg", "gallery", "outfit-a", "A", 132, 132000),
    ]
    assert check_identities(frame) == []


def test_other_numbers_only_warn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(tree(tmp_path).parent, "cc", NO_GROUPS)
    summary = import_dataset("prcc", request, out=tmp_path / "out")
    assert "rgb/train has 4 images, expected 17,896" in summary.warnings
    monkeypatch.setattr(prcc, "PARTS", renumbered(prcc.PARTS, [(2, 4), (2, 2), (2, 2), (2, 3)]))
    assert import_dataset("prcc", request, out=tmp_path / "out").warnings == ()


@pytest.mark.parametrize("name", ["rgb/train/002/D_cropped_rgb004.jpg", "rgb/train/x/A_1.jpg", "rgb/test/A/loose.jpg"])
def test_names_that_do_not_parse(tmp_path: Path, name: str) -> None:
    root = tree(tmp_path)
    write_images(root, [name])
    with pytest.raises(InputError, match=rf"{name}: expected rgb/train/001/A_cropped_rgb001\.jpg or"):
        imported("prcc", root, tmp_path / "out")


def test_missing_folders_are_named(tmp_path: Path) -> None:
    root = tree(tmp_path)
    shutil.rmtree(root / "rgb/val")  # not needed
    imported("prcc", root, tmp_path / "out")
    shutil.rmtree(root / "rgb/test/C")
    with pytest.raises(InputError, match="rgb/test/C not found"):
        imported("prcc", root, tmp_path / "out")
