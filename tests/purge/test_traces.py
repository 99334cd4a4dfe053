"""An image is known again in whatever file it lies, and nothing else is taken for it."""

from __future__ import annotations

import contextlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itkm.data.manifest import read_manifest
from itkm.data.shards import write_scenario
from itkm.errors import InputError
from itkm.purge.traces import Form, Subject, Traces, file_holds, holds, traces_of
from tiny import make_crop, scenario_rows

OURS, OTHER = make_crop(1, 1), make_crop(2, 2)


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Traces:
    """Of the first image of camera c1, which is `OURS`."""
    folder = tmp_path_factory.mktemp("data") / "vi"
    manifest = write_scenario(scenario_rows("vi"), folder)
    rows = np.arange(len(manifest)) == 0
    return traces_of(manifest, rows, folder, scenario="vi")


def tar_of(*contents: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for number, content in enumerate(contents):
            member = tarfile.TarInfo(f"folder/{number}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def npz_of(**arrays: object) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def table_of(**columns: object) -> bytes:
    return pd.DataFrame(columns).to_parquet()


def found(content: bytes, traces: Traces) -> Form | None:
    return holds(io.BytesIO(content), len(content), traces, name="a file")


def test_it_is_found_wherever_it_lies(traces: Traces) -> None:
    (digest,) = traces.images
    member = next(name for name in traces.names if digest[:16] in name)
    assert traces.names == {member, "c1/0001.jpg"}
    assert found(OURS, traces) == "image"
    assert found(tar_of(OTHER, OURS), traces) == "tar"
    assert found(npz_of(path=np.array(["x", "c1/0001.jpg"])), traces) == "npz"
    assert found(npz_of(query_path=np.array([member])), traces)
    assert found(table_of(path=[member], scenario=["vi"]), traces) == "parquet"
    assert found(table_of(path=["renamed.jpg"], sha256=[digest]), traces)


def test_nothing_else_is_taken_for_it(traces: Traces) -> None:
    same_size = bytes([OURS[0] ^ 1]) + OURS[1:]
    for content in (OTHER, same_size, b"", tar_of(OTHER, same_size)):
        assert not found(content, traces)
    assert not found(npz_of(path=np.array(["c1/0002.jpg"])), traces)
    assert not found(npz_of(features=np.zeros((3, 2))), traces)
    assert not found(npz_of(path=np.array(["c1/0001.jpg"]), scenario=np.array(["cc"])), traces)
    assert not found(table_of(path=["c1/0001.jpg"], scenario=["cc"]), traces)
    assert not found(table_of(name=["c1/0001.jpg"]), traces)


@given(kind=st.sampled_from(["tar", "npz", "parquet"]), data=st.data())
def test_a_damaged_file_raises_nothing_else(traces: Traces, kind: str, data: st.DataObject) -> None:
    whole = {"tar": tar_of(OURS), "npz": npz_of(path=np.array(["a"])), "parquet": table_of(path=["a"])}[kind]
    place = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.booleans())
    damaged = whole[:place] if cut else whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
    with contextlib.suppress(InputError) if kind == "tar" else contextlib.nullcontext():
        assert found(damaged, traces) in (kind, None)


@pytest.mark.parametrize("images", [(OTHER, OURS), (OURS, OTHER)], ids=["behind", "before"])
def test_a_damaged_tar_is_named_and_not_taken_for_one_without_the_images(
    traces: Traces, tmp_path: Path, images: tuple[bytes, bytes]
) -> None:
    whole = bytearray(tar_of(*images))
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        whole[tar.getmembers()[2].offset] ^= 1
    (tmp_path / "old.tar").write_bytes(whole)
    with pytest.raises(InputError, match=r"old\.tar: a tar that cannot be read to its end \(bad checksum\)"):
        file_holds(tmp_path / "old.tar", traces)


def test_images_that_are_gone_still_leave_their_names(tmp_path: Path) -> None:
    manifest = write_scenario(scenario_rows("vi"), tmp_path / "vi")
    (tmp_path / "vi" / "shards" / "c1.tar").unlink()
    rows = Subject("vi", camera="c1").rows(manifest)
    left = traces_of(manifest, rows, tmp_path / "vi", scenario="vi")
    assert len(left.names) == 32 and left.images == frozenset()
    assert not file_holds(tmp_path / "vi" / "shards" / "c2.tar", left)


def test_a_subject_is_a_camera_or_a_person(tmp_path: Path) -> None:
    write_scenario(scenario_rows("vi"), tmp_path / "vi")
    manifest = read_manifest(tmp_path / "vi")
    assert Subject("vi", camera="c3").rows(manifest).sum() == 16
    assert Subject("vi", person=4).rows(manifest).sum() == 12
    assert Subject("vi", person=4).name == "vi-person-4"
    for options in ({}, {"camera": "c1", "person": 1}, {"person": 0}, {"person": -1}):
        with pytest.raises(InputError):
            Subject("vi", **options)
