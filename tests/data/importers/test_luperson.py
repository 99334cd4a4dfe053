"""LUPerson: a real data base, keys that do not parse, and the missing library."""

from __future__ import annotations

import sys
from pathlib import Path

import lmdb
import pytest

from itkm.data.check import check_dataset
from itkm.data.importers import luperson
from itkm.data.importers.source import Part
from itkm.errors import InputError
from planted import content, draw, facts, imported

KEYS = ("00_00_0000_00000000", "00_00_0000_00000001", "03_12_0451_00000020")


def write(folder: Path, records: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    with lmdb.open(str(folder), map_size=1 << 22) as environment, environment.begin(write=True) as transaction:
        for key, value in records.items():
            transaction.put(key.encode(), value)
    (folder.parent / "keys.pkl").write_bytes(b"never read")
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write(tmp_path / "lup/lmdb", {key: draw(seed, form="JPEG") for seed, key in enumerate(KEYS)})


def test_rows_and_images(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in (base, base.parent):  # its folder, or the one that holds it
        frame, warnings = imported(luperson.FORMAT, source, tmp_path / "cr")
        assert facts(frame) == [(key, "train", "visible", "c1", -1) for key in KEYS]
        assert warnings == ("the set has 3 images, expected 4,180,243",)
    for seed, key in enumerate(KEYS):
        assert content(frame, tmp_path / "cr", key) == draw(seed, form="JPEG")
    assert {finding.severity for finding in check_dataset(tmp_path / "cr")} == {"warning"}
    monkeypatch.setattr(luperson, "WHOLE", Part("the set", None, 3))
    assert imported(luperson.FORMAT, base, tmp_path / "cr")[1] == ()


def test_a_key_that_does_not_parse(tmp_path: Path) -> None:
    base = write(tmp_path / "lmdb", {KEYS[0]: draw(1), "__keys__": b"pickled"})
    with pytest.raises(InputError, match=r"data\.mdb: key '__keys__', expected one such as 00_03_0012_00000017"):
        imported(luperson.FORMAT, base, tmp_path / "cr")


def test_a_record_that_is_no_image(tmp_path: Path) -> None:
    base = write(tmp_path / "lmdb", {KEYS[0]: draw(1), KEYS[1]: b"broken", KEYS[2]: b""})
    with pytest.raises(InputError, match=rf"(?s)key {KEYS[1]}: cannot be decoded.*key {KEYS[2]}: cannot be decoded"):
        imported(luperson.FORMAT, base, tmp_path / "cr")
    assert imported(luperson.FORMAT, base, tmp_path / "cr", allow_partial=True)[0]["source"].tolist() == [KEYS[0]]


def test_no_data_base(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected data\.mdb in it"):
        imported(luperson.FORMAT, tmp_path, tmp_path / "cr")
    (tmp_path / "data.mdb").write_bytes(b"garbage" * 2000)
    with pytest.raises(InputError, match=r"data\.mdb: cannot be read as lmdb"):
        imported(luperson.FORMAT, tmp_path, tmp_path / "cr")


def test_a_link_that_leads_out_is_refused(base: Path, tmp_path: Path) -> None:
    (tmp_path / "link").mkdir()
    (tmp_path / "link/data.mdb").symlink_to(base / "data.mdb")
    with pytest.raises(InputError, match="leads out of"):
        imported(luperson.FORMAT, tmp_path / "link", tmp_path / "cr")


def test_the_library_is_named_where_it_is_missing(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(InputError, match=r"needs the package lmdb.*pip install 'itkm\[formats\]'"):
        imported(luperson.FORMAT, base, tmp_path / "cr")
