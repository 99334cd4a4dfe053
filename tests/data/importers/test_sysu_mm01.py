"""SYSU-MM01: identities come from the lists, modalities from the cameras, and wrong copies are noticed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from itkm.data.importers import Request, import_dataset, sysu_mm01
from itkm.data.importers.source import Part
from itkm.errors import InputError
from trees import NO_GROUPS, imported, renumbered, views
from trees import sysu_mm01 as tree


def test_every_row(tmp_path: Path) -> None:
    root = tree(tmp_path)
    for source in (root, root.parent):
        assert views(imported("sysu-mm01", source, tmp_path / f"out-{source.name}")) == [
            ("cam1/0001/0001.jpg", "train", "visible", "c1", 1, -1),
            ("cam1/0001/0002.jpg", "train", "visible", "c1", 1, -1),
            ("cam2/0002/0004.jpg", "train", "visible", "c2", 2, -1),
            ("cam5/0005/0001.jpg", "train", "visible", "c5", 5, -1),
            ("cam3/0001/0001.jpg", "train", "infrared", "c3", 1, -1),
            ("cam3/0002/0001.jpg", "train", "infrared", "c3", 2, -1),
            ("cam6/0005/0001.jpg", "train", "infrared", "c6", 5, -1),
            ("cam3/0006/0003.jpg", "query", "infrared", "c3", 6, -1),
            ("cam6/0333/0001.jpg", "query", "infrared", "c6", 333, -1),
            ("cam6/0333/0002.jpg", "query", "infrared", "c6", 333, -1),
            ("cam1/0006/0001.jpg", "gallery", "visible", "c1", 6, -1),
            ("cam1/0006/0010.jpg", "gallery", "visible", "c1", 6, -1),
            ("cam4/0006/0001.jpg", "gallery", "visible", "c4", 6, -1),
            ("cam2/0333/0001.jpg", "gallery", "visible", "c2", 333, -1),
        ]


def test_identities_do_not_come_from_a_place_in_the_path(tmp_path: Path) -> None:
    deep = tmp_path / "a rather long/path cam3/0009"
    deep.mkdir(parents=True)
    assert imported("sysu-mm01", tree(deep), tmp_path / "out")["person"].max() == 333
    assert set(imported("sysu-mm01", tree(deep), tmp_path / "out")["person"]) == {1, 2, 5, 6, 333}


def test_a_copy_with_fewer_identities_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(tree(tmp_path), "vi", NO_GROUPS)
    with pytest.raises(InputError) as caught:
        import_dataset("sysu-mm01", request, out=tmp_path / "out")
    for words in (
        "not the published SYSU-MM01",
        "visible training half has 3 identities, expected 395",
        "infrared training half has 3 images, expected 11,909",
        "infrared test half has 3 images, expected 3,803",
        "a gallery of one visible test image per identity and camera has 3 images, expected 301",
        "--allow-partial",
    ):
        assert words in str(caught.value)
    monkeypatch.setattr(sysu_mm01, "PARTS", renumbered(sysu_mm01.PARTS, [(3, 4), (3, 3), (2, 3), (2, 4)]))
    monkeypatch.setattr(sysu_mm01, "DRAWN", Part("gallery", 2, 3))
    assert import_dataset("sysu-mm01", request, out=tmp_path / "out").warnings == ()


@pytest.mark.parametrize("text", ["1,x,3", "", "1 2", "1.5", "9" * 5000])
def test_lists_that_do_not_parse_are_named(tmp_path: Path, text: str) -> None:
    root = tree(tmp_path)
    (root / "exp/val_id.txt").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"val_id\.txt: .*Expected identities with commas between them"):
        imported("sysu-mm01", root, tmp_path / "out")


@pytest.mark.parametrize("missing", ["cam4", "exp/val_id.txt"])
def test_missing_folders_are_named(tmp_path: Path, missing: str) -> None:
    path = tree(tmp_path) / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match=rf"{missing} not found"):
        imported("sysu-mm01", tmp_path / "SYSU-MM01", tmp_path / "out")


def test_unreadable_images_are_named(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (root / "cam6/0333/0001.jpg").write_bytes(b"broken")
    assert imported("sysu-mm01", root, tmp_path / "out")["source"].tolist().count("cam6/0333/0001.jpg") == 0
    with pytest.raises(InputError, match="--group: sysu-mm01 says itself"):
        imported("sysu-mm01", root, tmp_path / "out", groups={"a": ["c1"], "b": ["c2"]})
