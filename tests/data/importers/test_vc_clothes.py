"""VC-Clothes: everything stands in the names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from itkm.data.importers import Request, import_dataset, vc_clothes
from itkm.data.importers.source import Part
from itkm.errors import InputError
from trees import NO_GROUPS, imported, views, write_images
from trees import vc_clothes as tree


def test_every_row(tmp_path: Path) -> None:
    assert views(imported("vc-clothes", tree(tmp_path), tmp_path / "out")) == [
        ("train/0001-01-01-01.jpg", "train", "outfit-a", "c1", 1, 1001),
        ("train/0001-02-01-03.jpg", "train", "outfit-a", "c2", 1, 1001),
        ("train/0001-04-02-02.jpg", "train", "outfit-b", "c4", 1, 1002),
        ("query/0257-02-01-01.jpg", "query", "outfit-a", "c2", 257, 257001),
        ("query/0257-03-01-01.jpg", "query", "outfit-a", "c3", 257, 257001),
        ("query/0300-03-01-02.jpg", "query", "outfit-a", "c3", 300, 300001),
        ("gallery/0257-03-01-02.jpg", "gallery", "outfit-a", "c3", 257, 257001),
        ("gallery/0257-04-02-01.jpg", "gallery", "outfit-b", "c4", 257, 257002),
        ("gallery/0300-02-01-01.jpg", "gallery", "outfit-a", "c2", 300, 300001),
        ("gallery/0300-04-03-01.jpg", "gallery", "outfit-b", "c4", 300, 300003),
    ]


def test_groups_can_be_given(tmp_path: Path) -> None:
    groups = {"outfit-a": ["c2", "c3"], "outfit-b": ["c1", "c4"]}
    frame = imported("vc-clothes", tree(tmp_path), tmp_path / "out", groups=groups)
    assert set(frame.loc[frame["camera"] == "c1", "group"]) == {"outfit-b"}


def test_other_numbers_only_warn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(tree(tmp_path).parent, "cc", NO_GROUPS)
    assert "train has 1 identities, expected 256" in import_dataset("vc-clothes", request, out=tmp_path / "o").warnings
    numbers = {"train": Part("train", 1, 3), "query": Part("query", 2, 3), "gallery": Part("gallery", 2, 4)}
    monkeypatch.setattr(vc_clothes, "PARTS", numbers)
    assert import_dataset("vc-clothes", request, out=tmp_path / "o").warnings == ()


@pytest.mark.parametrize("name", ["0001-05-01-01", "0001_01_01_01", "x-01-01-01", "0001-01-1000-01"])
def test_names_that_do_not_parse(tmp_path: Path, name: str) -> None:
    root = tree(tmp_path)
    write_images(root, [f"gallery/{name}.jpg"])
    with pytest.raises(InputError, match=rf"gallery/{name}\.jpg: expected a name such as 0001-01-01-01\.jpg"):
        imported("vc-clothes", root, tmp_path / "out")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path)
    shutil.rmtree(root / "gallery")
    with pytest.raises(InputError, match="gallery not found"):
        imported("vc-clothes", root, tmp_path / "out")
