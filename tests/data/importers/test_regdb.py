"""RegDB: each trial is a division of its own, and identities of the two halves never meet."""

from __future__ import annotations

from pathlib import Path

import pytest

from itkm.data.importers import Request, import_dataset, regdb
from itkm.errors import InputError
from trees import NO_GROUPS, imported, renumbered, views
from trees import regdb as tree


def test_every_row(tmp_path: Path) -> None:
    assert views(imported("regdb", tree(tmp_path).parent, tmp_path / "out")) == [
        ("Visible/17/female_front_v_00753_17.bmp", "train", "visible", "c1", 1, -1),
        ("Visible/17/female_back_v_00760_17.bmp", "train", "visible", "c1", 1, -1),
        ("Visible/222/male_back_v_09241_222.bmp", "train", "visible", "c1", 2, -1),
        ("Visible/222/male_back_v_09250_222.bmp", "train", "visible", "c1", 2, -1),
        ("Thermal/17/female_front_t_00753_17.bmp", "train", "infrared", "c2", 1, -1),
        ("Thermal/17/female_back_t_00760_17.bmp", "train", "infrared", "c2", 1, -1),
        ("Thermal/222/male_back_t_09241_222.bmp", "train", "infrared", "c2", 2, -1),
        ("Thermal/222/male_back_t_09250_222.bmp", "train", "infrared", "c2", 2, -1),
        ("Thermal/1/male_back_t_05421_1.bmp", "query", "infrared", "c2", 207, -1),
        ("Thermal/1/male_front_t_05422_1.bmp", "query", "infrared", "c2", 207, -1),
        ("Thermal/409/female_back_t_01000_409.bmp", "query", "infrared", "c2", 208, -1),
        ("Thermal/409/female_back_t_01001_409.bmp", "query", "infrared", "c2", 208, -1),
        ("Visible/1/male_back_v_05421_1.bmp", "gallery", "visible", "c1", 207, -1),
        ("Visible/1/male_front_v_05422_1.bmp", "gallery", "visible", "c1", 207, -1),
        ("Visible/409/female_back_v_01000_409.bmp", "gallery", "visible", "c1", 208, -1),
        ("Visible/409/female_back_v_01001_409.bmp", "gallery", "visible", "c1", 208, -1),
    ]


def test_a_trial_is_another_division(tmp_path: Path) -> None:
    root = tree(tmp_path)
    trained = {}
    for trial in (1, 2, 10):
        frame = imported("regdb", root, tmp_path / f"out{trial}", trial=trial)
        trained[trial] = set(frame.loc[frame["split"] == "train", "source"].str.split("/").str[1])
    assert trained == {1: {"17", "222"}, 2: {"1", "409"}, 10: {"1", "409"}}
    for trial in (0, 11):
        with pytest.raises(InputError, match=rf"--trial {trial}: regdb has trials 1 to 10"):
            imported("regdb", root, tmp_path / "out", trial=trial)


def test_a_copy_with_other_numbers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(tree(tmp_path), "vi", NO_GROUPS, trial=3)
    with pytest.raises(InputError, match=r"not the published RegDB, trial 3: train_visible has 2 identities, .* 2,060"):
        import_dataset("regdb", request, out=tmp_path / "out")
    monkeypatch.setattr(regdb, "PARTS", renumbered(regdb.PARTS, [(2, 4)] * 4))
    assert import_dataset("regdb", request, out=tmp_path / "out").warnings == ()


def test_faults_are_named(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (root / "idx/test_thermal_4.txt").unlink()
    with pytest.raises(InputError, match=r"idx/test_thermal_4\.txt not found"):
        imported("regdb", root, tmp_path / "out", trial=4)
    (root / "idx/train_visible_1.txt").write_text("Visible/17/female_front_v_00753_17.bmp\n", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"train_visible_1\.txt line 1: 'Visible/17/.*', expected an image and its label"
    ):
        imported("regdb", root, tmp_path / "out")
    (root / "Thermal/1/male_back_t_05421_1.bmp").write_bytes(b"BM")
    monkeypatched = Request(root, "vi", NO_GROUPS, trial=2, allow_partial=True)
    summary = import_dataset("regdb", monkeypatched, out=tmp_path / "out")
    assert summary.skipped == 1
    assert any("Thermal/1/male_back_t_05421_1.bmp: cannot be decoded" in warning for warning in summary.warnings)


def test_a_label_of_thousands_of_digits_is_a_bad_line(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (root / "idx/train_visible_1.txt").write_text(f"Visible/17/x.bmp {'1' * 6000}\n", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"train_visible_1\.txt line 1: 'Visible/17/x.bmp 1+, expected an image"
    ) as error:
        imported("regdb", root, tmp_path / "out")
    assert len(str(error.value)) < 1000


def test_a_folder_in_place_of_a_list_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (root / "idx/train_visible_1.txt").unlink()
    (root / "idx/train_visible_1.txt").mkdir()
    with pytest.raises(InputError, match=r"train_visible_1\.txt: cannot be read \(Is a directory\)"):
        imported("regdb", root, tmp_path / "out")
