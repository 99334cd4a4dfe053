"""MSMT17: both versions become the same manifest, and persons of equal labels in two halves stay apart."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from itkm.data.importers import Request, import_dataset, msmt17
from itkm.errors import InputError
from trees import NO_GROUPS, imported, renumbered, views
from trees import msmt17 as tree

NIGHT = {"day": [f"c{n}" for n in range(1, 15)], "night": ["c15"]}


@pytest.mark.parametrize(
    ("version", "train", "test"), [("V1", "train", "test"), ("V2", "mask_train_v2", "mask_test_v2")]
)
def test_every_row(tmp_path: Path, version: str, train: str, test: str) -> None:
    root = tree(tmp_path, version=version)
    for source in (root, root.parent):
        frame = imported("msmt17", source, tmp_path / f"out-{source.name}")
        assert views(frame) == [
            (f"{train}/0000/0000_000_01_0303morning_0008_0.jpg", "train", "odd", "c1", 4101, -1),
            (f"{train}/0000/0000_001_02_0303noon_0113_1.jpg", "train", "even", "c2", 4101, -1),
            (f"{train}/0001/0001_000_15_0302afternoon_1074_1.jpg", "train", "odd", "c15", 1, -1),
            (f"{train}/0001/0001_006_03_0302morning_0099_0.jpg", "train", "odd", "c3", 1, -1),
            (f"{test}/0000/0000_000_01_0303morning_0020_0.jpg", "query", "odd", "c1", 1041, -1),
            (f"{test}/0001/0001_004_02_0113noon_0555_2.jpg", "query", "even", "c2", 1042, -1),
            (f"{test}/0000/0000_003_01_0303morning_0030_1.jpg", "gallery", "odd", "c1", 1041, -1),
            (f"{test}/0000/0000_005_14_0303noon_0030_1.jpg", "gallery", "even", "c14", 1041, -1),
            (f"{test}/0001/0001_007_05_0113noon_0777_0.jpg", "gallery", "odd", "c5", 1042, -1),
        ]


def test_groups_can_be_given(tmp_path: Path) -> None:
    frame = imported("msmt17", tree(tmp_path), tmp_path / "out", groups=NIGHT)
    assert dict(zip(frame["camera"], frame["group"], strict=True))["c15"] == "night"
    assert set(frame.loc[frame["camera"] != "c15", "group"]) == {"day"}


def test_another_number_of_images_is_not_msmt17(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(tree(tmp_path), "s", NO_GROUPS)
    with pytest.raises(
        InputError, match=r"list_train\.txt has 2 identities, expected 1,041; .*82,161.*--allow-partial"
    ):
        import_dataset("msmt17", request, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(msmt17, "PARTS", renumbered(msmt17.PARTS, [(2, 3), (1, 1), (2, 2), (2, 3)]))
    assert import_dataset("msmt17", request, out=tmp_path / "out").warnings == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0000/photo.jpg 0", r"train/0000/photo\.jpg: expected a name such as 0000_000_01_"),
        ("0000/0000_000_16_0303morning_0008_0.jpg 0", r"0000_000_16_.*with a camera 01 to 15"),
        (
            "0000/0000_000_01_0303morning_0008_0.jpg",
            r"list_train\.txt line 4: '0000/.*', expected an image and its label",
        ),
        ("0000/0000_000_01_0303morning_0008_0.jpg x", r"list_train\.txt line 4"),
        ("../../secret_000_01_0.jpg 0", r"secret_000_01_0\.jpg: leads out of"),
        ("0002/0002_000_01_0303morning_0008_0.jpg 9", r"train/0002/0002_000_01_.*: cannot be read \(No such file"),
        (f"0000/0000_000_02_9_0_0.jpg {2**63}", r"train/0000/0000_000_02_9_0_0\.jpg'\): person is 9223372036854775808"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str) -> None:
    monkeypatch.setattr(msmt17, "PARTS", renumbered(msmt17.PARTS, [(None, None)] * 4))
    root = tree(tmp_path)
    with (root / "list_train.txt").open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    with pytest.raises(InputError, match=message):
        import_dataset("msmt17", Request(root, "s", NIGHT), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_lists_and_folders_are_named(tmp_path: Path) -> None:
    root = tree(tmp_path)
    shutil.rmtree(root / "test")
    with pytest.raises(InputError, match=r"expected the folders train and test \(V1\), or mask_train_v2"):
        imported("msmt17", root, tmp_path / "out")
    (root / "list_val.txt").unlink()
    with pytest.raises(InputError, match=r"list_val\.txt not found"):
        imported("msmt17", root, tmp_path / "out")


def test_a_list_that_is_no_text_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (root / "list_query.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"list_query\.txt: not a text file"):
        imported("msmt17", root, tmp_path / "out")
