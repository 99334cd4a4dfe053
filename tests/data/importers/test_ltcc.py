"""LTCC: identities, clothes and cameras from names; its second group is made, and says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from itkm.data.check import check_identities
from itkm.data.importers import Request, import_dataset, ltcc
from itkm.data.importers.recolour import recolour
from itkm.data.importers.source import Part
from itkm.data.shards import ShardReader
from itkm.errors import InputError
from trees import NO_GROUPS, imported, views, write_images
from trees import ltcc as tree


def test_every_row(tmp_path: Path) -> None:
    frame = imported("ltcc", tree(tmp_path), tmp_path / "out", scenario="cc")
    assert views(frame) == [
        ("train/094_1_c9_004554.png", "train", "outfit-a", "c9", 94, 94001),
        ("train/094_2_c12_004600.png", "train", "outfit-a", "c12", 94, 94002),
        ("train/101_1_c1_000001.png", "train", "outfit-a", "c1", 101, 101001),
        ("query/000_1_c4_000010.png", "query", "outfit-a", "c4", 152, 152001),
        ("query/007_1_c2_000020.png", "query", "outfit-a", "c2", 7, 7001),
        ("test/000_1_c5_000030.png", "gallery", "outfit-a", "c5", 152, 152001),
        ("test/000_2_c6_000040.png", "gallery", "outfit-a", "c6", 152, 152002),
        ("test/007_1_c3_000050.png", "gallery", "outfit-a", "c3", 7, 7001),
        ("test/007_2_c1_000060.png", "gallery", "outfit-a", "c1", 7, 7002),
        ("train/094_1_c9_004554.png (recoloured)", "train", "outfit-b", "c9", 94, -1),
        ("train/094_2_c12_004600.png (recoloured)", "train", "outfit-b", "c12", 94, -1),
        ("train/101_1_c1_000001.png (recoloured)", "train", "outfit-b", "c1", 101, -1),
    ]
    assert check_identities(frame) == []


def test_the_copies_are_recoloured_and_all_others_as_they_were(tmp_path: Path) -> None:
    root = tree(tmp_path)
    frame = imported("ltcc", root, tmp_path / "out")
    reader = ShardReader(tmp_path / "out")
    for shard, path, source in frame[["shard", "path", "source"]].itertuples(index=False):
        original = (root / source.removesuffix(" (recoloured)")).read_bytes()
        wanted = recolour(original, name="x") if source.endswith("(recoloured)") else original
        assert reader.read(shard, path) == wanted
    assert frame["path"].is_unique


def test_other_numbers_only_warn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(tree(tmp_path).parent, "cc", NO_GROUPS)
    summary = import_dataset("ltcc", request, out=tmp_path / "out")
    assert "train has 3 images, expected 9,576" in summary.warnings
    numbers = {"train": Part("train", 2, 3), "query": Part("query", 2, 2), "gallery": Part("test", 2, 4)}
    monkeypatch.setattr(ltcc, "PARTS", numbers)
    assert import_dataset("ltcc", request, out=tmp_path / "out").warnings == ()


@pytest.mark.parametrize("name", ["94_c9_004554", "094_1_c13_004554", "094_1000_c9_004554", "x094_1_c9_4"])
def test_names_that_do_not_parse(tmp_path: Path, name: str) -> None:
    root = tree(tmp_path)
    write_images(root, [f"test/{name}.png"])
    with pytest.raises(InputError, match=rf"test/{name}\.png: expected a name such as 094_1_c9_004554\.png"):
        imported("ltcc", root, tmp_path / "out")


def test_faults_are_named(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (root / "train/101_1_c1_000001.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"(?s)101_1_c1_000001\.png: .*101_1_c1_000001\.png \(recoloured\): cannot be"):
        import_dataset("ltcc", Request(root, "cc", NO_GROUPS), out=tmp_path / "out")
    write_images(root, [f"train/{2**63}_1_c1_1.png"])
    with pytest.raises(InputError, match=r"train/9223372036854775808_1_c1_1\.png'\): person is 9223372036854775808"):
        imported("ltcc", root, tmp_path / "out")
    shutil.rmtree(root / "query")
    with pytest.raises(InputError, match="train, query, test in it, query not found"):
        imported("ltcc", root, tmp_path / "out")
