"""CUHK03: the published file with its references, the images taken out of it, the classic and the new divisions."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from itkm.data.importers import cuhk03, cuhk03_np
from itkm.data.importers.source import Part, Request
from itkm.errors import InputError
from planted import content, facts, imported, plant

LABELED = (
    "1_001_1_01",
    "1_001_1_02",
    "1_001_2_06",
    "1_002_1_01",
    "1_002_2_07",
    "2_001_1_03",
    "2_001_2_10",
    "5_001_2_06",
)
TESTSETS = [[(1, 1)], [(1, 2), (2, 1)]]


def noise(name: str) -> NDArray[np.uint8]:
    seed = int(name.replace("_", ""))
    return np.random.default_rng(seed).integers(0, 256, (40 + seed % 7, 16 + seed % 5, 3), dtype=np.uint8)


def write_mat(file: Path, boxes: Mapping[str, Sequence[str]], testsets: Sequence[Sequence[tuple[int, int]]]) -> None:
    """A file as MATLAB 7.3 writes cells of cells: references to what lies in #refs#, dimensions in reverse order."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w", userblock_size=512) as mat:
        refs = mat.create_group("#refs#")

        def put(values: NDArray[np.generic]) -> h5py.Reference:
            return refs.create_dataset(f"r{len(refs)}", data=values).ref

        def empty() -> h5py.Reference:
            cell = refs.create_dataset(f"r{len(refs)}", data=np.zeros(2, dtype=np.uint64))
            cell.attrs["MATLAB_empty"] = np.uint8(1)
            return cell.ref

        for kind, names in boxes.items():
            pairs = []
            for pair in range(1, 6):
                own = {(int(name[2:5]), int(name[8:10])): name for name in names if int(name[0]) == pair}
                persons = max((person for person, _ in own), default=1)
                cells = np.empty((10, persons), dtype=h5py.ref_dtype)
                for person in range(1, persons + 1):
                    for place in range(1, 11):
                        name = own.get((person, place))
                        cells[place - 1, person - 1] = put(noise(name).T) if name else empty()
                pairs.append(put(cells))
            mat.create_dataset(kind, data=np.array([pairs], dtype=h5py.ref_dtype))
        sets = [put(np.array(persons, dtype=np.float64).T) for persons in testsets]
        mat.create_dataset("testsets", data=np.array([sets], dtype=h5py.ref_dtype))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    release = tmp_path / "cuhk03_release"
    write_mat(release / "cuhk-03.mat", {"labeled": LABELED, "detected": LABELED[:3]}, TESTSETS)
    return release


@pytest.fixture
def taken_out(tmp_path: Path) -> Path:
    root = tmp_path / "cuhk03"
    plant(root / "images_labeled", *(f"{name}.png" for name in LABELED))
    splits = [
        {"query": [[f"/data/cuhk03/images_labeled/{name}.png", 0, 0] for name in LABELED if name[:5] in tested]}
        for tested in ({"1_001"}, {"1_002", "2_001"})
    ]
    (root / "splits_classic_labeled.json").write_text(json.dumps(splits))
    return root


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics of the tiny sets of these tests, first division."""
    monkeypatch.setattr(cuhk03, "WHOLE", {"labeled": Part("labeled", 4, 8), "detected": Part("detected", 1, 3)})
    monkeypatch.setattr(cuhk03, "PARTS", {"train": Part("train", 3, 5), "test": Part("test", 1, 3)})


FIRST = [
    ("1_001_1_01.png", "query", "view-1", "c1", 1001),
    ("1_001_1_02.png", "query", "view-1", "c1", 1001),
    ("1_001_2_06.png", "gallery", "view-2", "c2", 1001),
    ("1_002_1_01.png", "train", "view-1", "c1", 1002),
    ("1_002_2_07.png", "train", "view-2", "c2", 1002),
    ("2_001_1_03.png", "train", "view-1", "c3", 2001),
    ("2_001_2_10.png", "train", "view-2", "c4", 2001),
    ("5_001_2_06.png", "train", "view-2", "c10", 5001),
]


@pytest.mark.usefixtures("counted")
def test_the_published_file(published: Path, tmp_path: Path) -> None:
    frame, warnings = imported(cuhk03.FORMAT, published, tmp_path / "cr")
    assert facts(frame) == [(f"labeled/{name}", *rest) for name, *rest in FIRST]
    assert warnings == ()
    for name in LABELED:
        packed = content(frame, tmp_path / "cr", f"labeled/{name}.png")
        assert packed.startswith(b"\x89PNG")
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(packed))), noise(name))
    sizes = frame.set_index("source")["resolution"]
    assert sizes["labeled/1_001_1_01.png"] == "{1}x{0}".format(*noise("1_001_1_01").shape)


@pytest.mark.usefixtures("counted")
def test_the_images_taken_out_of_it(taken_out: Path, tmp_path: Path) -> None:
    frame, _ = imported(cuhk03.FORMAT, taken_out.parent, tmp_path / "cr")  # the folder that holds it
    assert facts(frame) == [(f"images_labeled/{name}", *rest) for name, *rest in FIRST]
    name = "images_labeled/1_002_2_07.png"
    assert content(frame, tmp_path / "cr", name) == (taken_out / name).read_bytes()


@pytest.mark.parametrize("form", ["published", "taken_out"])
def test_the_second_division(form: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    source = request.getfixturevalue(form)
    frame, _ = imported(cuhk03.FORMAT, source, tmp_path / "cr", trial=2, allow_partial=True)
    assert set(frame.loc[frame["split"] == "train", "person"]) == {1001, 5001}
    assert set(frame.loc[frame["split"] != "train", "person"]) == {1002, 2001}


@pytest.mark.usefixtures("counted")
def test_boxes_of_the_detector(published: Path, tmp_path: Path) -> None:
    frame, warnings = imported(cuhk03.DETECTED, published, tmp_path / "cr", allow_partial=True)
    assert frame["source"].tolist() == [f"detected/{name}.png" for name in LABELED[:3]]
    assert warnings == ("train has 0 identities, expected 3", "train has 0 images, expected 5")


def test_a_wrong_copy_is_refused(published: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"not the published CUHK03 \(labeled\): labeled has 4 identities, expected 1,467"
    ):
        imported(cuhk03.FORMAT, published, tmp_path / "cr")
    assert not (tmp_path / "cr").exists()


def test_a_folder_with_neither_form(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"expected cuhk-03\.mat, or images_labeled beside splits_classic_labeled\.json"
    ):
        imported(cuhk03.FORMAT, tmp_path, tmp_path / "cr")


@pytest.mark.parametrize("damage", [lambda content: b"no HDF5", lambda content: content[: len(content) // 2]])
def test_a_damaged_file(damage: object, published: Path, tmp_path: Path) -> None:
    file = published / "cuhk-03.mat"
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    with pytest.raises(InputError, match=r"cuhk-03\.mat: cannot be read as cuhk-03\.mat, MATLAB 7\.3"):
        imported(cuhk03.FORMAT, published, tmp_path / "cr")


def test_a_file_without_what_it_should_hold(published: Path, tmp_path: Path) -> None:
    with h5py.File(published / "cuhk-03.mat", "r+") as mat:
        del mat["labeled"]
    with pytest.raises(InputError, match=r"cannot be read as cuhk-03\.mat.*labeled"):
        imported(cuhk03.FORMAT, published, tmp_path / "cr")


def test_values_that_lie_in_another_file_are_refused(published: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(5 * 8))
    with h5py.File(published / "cuhk-03.mat", "r+") as mat:
        del mat["labeled"]
        outside = [(str(tmp_path / "secret"), 0, 40)]
        mat.create_dataset("labeled", shape=(1, 5), dtype="f8", external=outside)
    with pytest.raises(InputError, match="/labeled refers to another file"):
        imported(cuhk03.FORMAT, published, tmp_path / "cr")
    with h5py.File(tmp_path / "other.mat", "w") as other:
        other.create_dataset("labeled", data=np.zeros(5))
    with h5py.File(published / "cuhk-03.mat", "r+") as mat:
        del mat["labeled"]
        mat["labeled"] = h5py.ExternalLink(str(tmp_path / "other.mat"), "/labeled")
    with pytest.raises(InputError, match="/labeled refers to another file"):
        imported(cuhk03.FORMAT, published, tmp_path / "cr")


@pytest.mark.usefixtures("counted")
def test_a_cell_that_is_no_image_is_named(published: Path, tmp_path: Path) -> None:
    with h5py.File(published / "cuhk-03.mat", "r+") as mat:
        pair = mat[mat["labeled"][0, 0]]
        cells = pair[()]
        cells[0, 1] = mat["#refs#"].create_dataset("odd", data=np.zeros((3, 16, 40))).ref
        pair[...] = cells
    with pytest.raises(InputError, match=r"labeled/1_002_1_01\.png: float64 \(3, 16, 40\), expected uint8"):
        imported(cuhk03.FORMAT, published, tmp_path / "cr")


def test_the_library_is_named_where_it_is_missing(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"needs the package h5py.*pip install 'itkm\[formats\]'"):
        imported(cuhk03.FORMAT, published, tmp_path / "cr")


def test_a_name_that_does_not_parse(taken_out: Path, tmp_path: Path) -> None:
    plant(taken_out / "images_labeled", "6_001_1_01.png")
    with pytest.raises(InputError, match=r"6_001_1_01\.png: expected a name such as 1_001_1_01\.png"):
        imported(cuhk03.FORMAT, taken_out, tmp_path / "cr")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "no division 1"),
        ("[]", "no division 1"),
        ('[{"train": []}]', "no division 1 .*'query'"),
        ('[{"query": [5]}]', "no division 1"),
        ('[{"query": [["x/odd.png", 0, 0]]}]', r"division 1, file 'odd\.png': expected a name"),
    ],
)
def test_a_list_of_divisions_that_is_none(text: str, message: str, taken_out: Path, tmp_path: Path) -> None:
    (taken_out / "splits_classic_labeled.json").write_text(text)
    with pytest.raises(InputError, match=rf"splits_classic_labeled\.json: {message}"):
        imported(cuhk03.FORMAT, taken_out, tmp_path / "cr")


def test_paths_written_on_windows(taken_out: Path, tmp_path: Path) -> None:
    splits = [{"query": [[r"C:\cuhk03\images_labeled\1_001_1_01.png", 0, 0]]}]
    (taken_out / "splits_classic_labeled.json").write_text(json.dumps(splits))
    frame, _ = imported(cuhk03.FORMAT, taken_out, tmp_path / "cr", allow_partial=True)
    assert set(frame.loc[frame["split"] != "train", "person"]) == {1001}


def test_groups_that_the_user_gives(taken_out: Path) -> None:
    groups = {"high": [f"c{number}" for number in range(1, 10)], "low": ["c10"]}
    listing = cuhk03.list_cuhk03(Request(taken_out, "cr", groups, allow_partial=True))
    assert {image.row["camera"] for image in listing.images if image.row["group"] == "low"} == {"c10"}


def write_config(file: Path, *, train: Sequence[int], query: Sequence[int], gallery: Sequence[int]) -> None:
    names = np.array([f"{name}.png" for name in LABELED], dtype=object)[:, None]
    places = {
        f"{key}_idx": np.array(own)[:, None]
        for key, own in {"train": train, "query": query, "gallery": gallery}.items()
    }
    savemat(file, {"filelist": names, "labels": np.ones((len(names), 1)), **places})


@pytest.mark.parametrize("form", ["published", "taken_out"])
def test_the_new_division(
    form: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = request.getfixturevalue(form)
    write_config(source / "cuhk03_new_protocol_config_labeled.mat", train=[8, 1, 2, 3], query=[4, 6], gallery=[5, 7])
    with pytest.raises(InputError, match=r"CUHK03-NP \(labeled\): train has 2 identities, expected 767"):
        imported(cuhk03_np.FORMAT, source, tmp_path / "cr")
    parts = {"train": Part("train", 2, 4), "query": Part("query", 2, 2), "gallery": Part("gallery", 2, 2)}
    monkeypatch.setattr(cuhk03_np, "PARTS", {"labeled": parts})
    frame, warnings = imported(cuhk03_np.FORMAT, source, tmp_path / "cr")
    folder = "labeled" if form == "published" else "images_labeled"
    assert warnings == ()
    assert facts(frame) == [
        (f"{folder}/1_001_1_01.png", "train", "view-1", "c1", 1001),
        (f"{folder}/1_001_1_02.png", "train", "view-1", "c1", 1001),
        (f"{folder}/1_001_2_06.png", "train", "view-2", "c2", 1001),
        (f"{folder}/1_002_1_01.png", "query", "view-1", "c1", 1002),
        (f"{folder}/1_002_2_07.png", "gallery", "view-2", "c2", 1002),
        (f"{folder}/2_001_1_03.png", "query", "view-1", "c3", 2001),
        (f"{folder}/2_001_2_10.png", "gallery", "view-2", "c4", 2001),
        (f"{folder}/5_001_2_06.png", "train", "view-2", "c10", 5001),
    ]


def test_a_new_division_that_does_not_fit(taken_out: Path, tmp_path: Path) -> None:
    config = taken_out / "cuhk03_new_protocol_config_labeled.mat"
    with pytest.raises(InputError, match=r"expected cuhk03_new_protocol_config_labeled\.mat in it"):
        imported(cuhk03_np.FORMAT, taken_out, tmp_path / "cr")
    config.write_bytes(b"no MATLAB")
    with pytest.raises(InputError, match="cannot be read as a division"):
        imported(cuhk03_np.FORMAT, taken_out, tmp_path / "cr")
    for wrong in (0, 9):
        write_config(config, train=[wrong], query=[1], gallery=[2])
        with pytest.raises(InputError, match="cannot be read as a division"):
            imported(cuhk03_np.FORMAT, taken_out, tmp_path / "cr")
    write_config(config, train=[1], query=[2], gallery=[3])
    (taken_out / "images_labeled/1_001_1_02.png").unlink()
    with pytest.raises(InputError, match=r"names '1_001_1_02\.png', which is not there"):
        imported(cuhk03_np.FORMAT, taken_out, tmp_path / "cr")
