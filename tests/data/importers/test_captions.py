"""Sets with captions: rows, captions, statistics that warn, and jsons that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from itkm.data.check import check_dataset
from itkm.data.importers import cuhk_pedes, icfg_pedes, rstp_reid, synth_pedes
from itkm.data.importers.source import Format, Part
from itkm.errors import InputError
from planted import facts, imported, plant

CUHK = [
    {
        "split": "train",
        "captions": ["A man.", " A  tall\nman. "],
        "file_path": "cam_a/0001.png",
        "id": 1,
        "processed_tokens": [],
    },
    {"split": "val", "captions": ["A woman.", "She walks."], "file_path": "CUHK03/2_1.jpg", "id": 11004},
    {"split": "test", "captions": ["One", "Two", "Three"], "file_path": "test_query/p1_s2.jpg", "id": 12004},
    {"split": "test", "captions": ["Four"], "file_path": "test_query/p1_s3.jpg", "id": 12004},
]
ICFG = [
    {"split": "train", "captions": ["Red."], "file_path": "test/0627/0627_010_05_0303afternoon_1591_0.jpg", "id": 0},
    {
        "split": "test",
        "captions": ["Blue."],
        "file_path": "train/0001/0001_000_15_0303noon_0008_0_ex.jpg",
        "id": 3102,
    },
]
RSTP = [
    {"id": 0, "img_path": "0000_c14_0031.jpg", "captions": ["A.", "B."], "split": "train"},
    {"id": 3701, "img_path": "3701_c1_0004.jpg", "captions": ["C.", "D."], "split": "val"},
    {"id": 3901, "img_path": "3901_c5_0022.jpg", "captions": ["E.", "F."], "split": "test"},
]
SYNTH = [
    {"id": 7, "file_path": "Part1/7/1.jpg", "attributes": ["man"], "captions": ["G.", "H."], "prompt_caption": ["I."]},
    {"id": 0, "file_path": "Part11/0/0.jpg", "attributes": ["woman"], "captions": ["J."], "prompt_caption": ["K."]},
]


def write(root: Path, name: str, entries: Any, *, images: str = "imgs/") -> Path:
    """The json and its images."""
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(entries))
    paths = [entry.get("file_path") or entry["img_path"] for entry in entries]
    plant(root, *(f"{images}{path}" for path in paths))
    return root


def captions(frame: Any) -> dict[str, str]:
    return dict(zip(frame["source"], frame["caption"], strict=True))


def test_cuhk_pedes(tmp_path: Path) -> None:
    write(tmp_path / "CUHK-PEDES", "reid_raw.json", CUHK)
    frame, warnings = imported(cuhk_pedes.FORMAT, tmp_path, tmp_path / "out")
    assert facts(frame) == [
        ("imgs/CUHK03/2_1.jpg", "validation", "visible", "CUHK03", 11004),
        ("imgs/cam_a/0001.png", "train", "visible", "cam_a", 1),
        ("imgs/test_query/p1_s2.jpg", "gallery", "visible", "test_query", 12004),
        ("imgs/test_query/p1_s3.jpg", "gallery", "visible", "test_query", 12004),
    ]
    assert captions(frame) == {
        "imgs/cam_a/0001.png": "A man.\nA tall man.",
        "imgs/CUHK03/2_1.jpg": "A woman.\nShe walks.",
        "imgs/test_query/p1_s2.jpg": "One\nTwo\nThree",
        "imgs/test_query/p1_s3.jpg": "Four",
    }
    assert "train has 1 identities, expected 11,003" in warnings
    assert "test has 2 images, expected 3,074" in warnings
    assert len(warnings) == 6


def test_statistics_that_fit_warn_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {"train": Part("train", 1, 1), "validation": Part("val", 1, 1), "gallery": Part("test", 1, 2)}
    monkeypatch.setattr(cuhk_pedes, "SET", replace(cuhk_pedes.SET, parts=parts))
    write(tmp_path, "reid_raw.json", CUHK)
    assert imported(cuhk_pedes.FORMAT, tmp_path, tmp_path / "out")[1] == ()


def test_icfg_pedes(tmp_path: Path) -> None:
    write(tmp_path / "ICFG-PEDES", "ICFG-PEDES.json", ICFG)
    frame, warnings = imported(icfg_pedes.FORMAT, tmp_path / "ICFG-PEDES", tmp_path / "out")
    assert facts(frame) == [
        ("imgs/test/0627/0627_010_05_0303afternoon_1591_0.jpg", "train", "visible", "c5", 1),
        ("imgs/train/0001/0001_000_15_0303noon_0008_0_ex.jpg", "gallery", "visible", "c15", 3103),
    ]
    assert sorted(frame["caption"]) == ["Blue.", "Red."]
    assert len(warnings) == 4


def test_rstp_reid(tmp_path: Path) -> None:
    write(tmp_path / "RSTPReid", "data_captions.json", RSTP)
    frame, warnings = imported(rstp_reid.FORMAT, tmp_path / "RSTPReid", tmp_path / "out")
    assert facts(frame) == [
        ("imgs/0000_c14_0031.jpg", "train", "visible", "c14", 1),
        ("imgs/3701_c1_0004.jpg", "validation", "visible", "c1", 3702),
        ("imgs/3901_c5_0022.jpg", "gallery", "visible", "c5", 3902),
    ]
    assert captions(frame)["imgs/3901_c5_0022.jpg"] == "E.\nF."
    assert len(warnings) == 6


def test_synth_pedes(tmp_path: Path) -> None:
    write(tmp_path / "SYNTH-PEDES", "synthpedes-dataset.json", SYNTH, images="")
    frame, warnings = imported(synth_pedes.FORMAT, tmp_path / "SYNTH-PEDES", tmp_path / "out")
    assert facts(frame) == [
        ("Part1/7/1.jpg", "train", "visible", "c1", 8),
        ("Part11/0/0.jpg", "train", "visible", "c1", 1),
    ]
    assert captions(frame) == {"Part1/7/1.jpg": "G.\nH.", "Part11/0/0.jpg": "J."}
    assert warnings == ("the set has 2 identities, expected 312,321", "the set has 2 images, expected 4,791,711")


def test_such_a_set_can_be_used_though_not_trained_on(tmp_path: Path) -> None:
    write(tmp_path / "RSTPReid", "data_captions.json", RSTP)
    imported(rstp_reid.FORMAT, tmp_path / "RSTPReid", tmp_path / "cr")
    findings = check_dataset(tmp_path / "cr")
    assert [(finding.severity, finding.rule) for finding in findings] == [("warning", "groups")]
    assert "can be embedded, searched and scored, but training needs two" in findings[0].message


def changed(entry: int, **values: object) -> Callable[[list[Any]], None]:
    def change(entries: list[Any]) -> None:
        entries[entry] |= values

    return change


def without(entry: int, key: str) -> Callable[[list[Any]], None]:
    def change(entries: list[Any]) -> None:
        del entries[entry][key]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without(1, "captions"), "entry 1: captions is missing, expected a list of at least one text"),
        (without(2, "split"), "entry 2: split is missing, expected train, val or test"),
        (without(0, "id"), "entry 0: id is missing, expected a whole number"),
        (without(3, "file_path"), "entry 3: file_path is missing"),
        (changed(0, captions=[]), r"entry 0: captions is \[\], expected a list"),
        (changed(0, captions=["x", 5]), "entry 0: captions is 5, expected a list"),
        (changed(0, split="dev"), "entry 0: split is 'dev', expected train, val or test"),
        (changed(0, id="one"), "entry 0: id is 'one', expected a whole number"),
        (changed(0, id=2**70), "entry 0: id is 1180591620717411303424, expected a whole number"),
        (changed(0, id=0), "entry 0: .*id 0; expected .* an id from 1"),
        (
            changed(0, file_path="loose.jpg"),
            r"entry 0: file_path 'loose\.jpg'.*such as cam_a/0001\.jpg",
        ),
        (changed(2, file_path="../secret.png"), r"entry 2: file_path is '\.\./secret\.png', expected a relative path"),
        (changed(2, file_path="cam_a/../../../secret.png"), r"entry 2: file_path is .*, expected a relative path"),
        (changed(2, file_path="/etc/passwd"), "entry 2: file_path is '/etc/passwd', expected a relative path"),
        (changed(2, file_path="cam_a/\x00.png"), "entry 2: file_path is .*, expected a relative path"),
        (lambda entries: entries.append("odd"), "entry 4: 'odd', expected an object"),
        (changed(1, file_path="cam_a/absent.png"), r"absent\.png: cannot be read"),
    ],
)
def test_an_entry_that_cannot_be_used(change: Callable[[list[Any]], None], message: str, tmp_path: Path) -> None:
    entries = json.loads(json.dumps(CUHK))
    write(tmp_path, "reid_raw.json", entries)
    change(entries)
    (tmp_path / "reid_raw.json").write_text(json.dumps(entries))
    with pytest.raises(InputError, match=message):
        imported(cuhk_pedes.FORMAT, tmp_path, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.tar"))


def test_a_key_is_called_as_the_json_calls_it(tmp_path: Path) -> None:
    write(tmp_path, "data_captions.json", RSTP)
    (tmp_path / "data_captions.json").write_text(json.dumps([{"id": 1, "captions": ["x"], "split": "train"}]))
    with pytest.raises(InputError, match="entry 0: img_path is missing, expected a relative path"):
        imported(rstp_reid.FORMAT, tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[{", "cannot be read as json"),
        (b"\xff\xfe", "cannot be read as json"),
        (b"[" * 200_000, "cannot be read as json"),
        (b'{"images": []}', "expected a list of images, found dict"),
        (b"[]", "lists no image, expected at least one"),
    ],
)
def test_a_file_that_is_no_list_of_images(content: bytes, message: str, tmp_path: Path) -> None:
    write(tmp_path, "reid_raw.json", CUHK)
    (tmp_path / "reid_raw.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"reid_raw\.json: {message}"):
        imported(cuhk_pedes.FORMAT, tmp_path, tmp_path / "out")


def test_a_folder_in_place_of_the_json_is_named(tmp_path: Path) -> None:
    write(tmp_path, "reid_raw.json", CUHK)
    (tmp_path / "reid_raw.json").unlink()
    (tmp_path / "reid_raw.json").mkdir()
    with pytest.raises(InputError, match=r"reid_raw\.json: cannot be read \(Is a directory\)"):
        imported(cuhk_pedes.FORMAT, tmp_path, tmp_path / "out")


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "CUHK-PEDES", "reid_raw.json", CUHK)
    plant(tmp_path, "secret.png")
    (root / "imgs/cam_a/0001.png").unlink()
    (root / "imgs/cam_a/0001.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match=r"cam_a/0001\.png: leads out of"):
        imported(cuhk_pedes.FORMAT, root, tmp_path / "out")


@pytest.mark.parametrize("form", [cuhk_pedes.FORMAT, icfg_pedes.FORMAT, rstp_reid.FORMAT, synth_pedes.FORMAT])
def test_a_folder_without_the_json(form: Format, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected .*\.json.* not found"):
        imported(form, tmp_path, tmp_path / "out")


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    root = write(tmp_path / "RSTPReid", "data_captions.json", RSTP)
    (root / "imgs/3701_c1_0004.jpg").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"3701_c1_0004\.jpg: cannot be decoded"):
        imported(rstp_reid.FORMAT, root, tmp_path / "out")
    assert len(imported(rstp_reid.FORMAT, root, tmp_path / "out", allow_partial=True)[0]) == 2
