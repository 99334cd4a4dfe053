"""`itkm label`: what it writes and prints, and every way in which it is refused."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from itkm.cli import main
from itkm.cli.label import label
from itkm.labelling.pseudo import pseudo_labels
from itkm.labelling.settings import LabellingSettings

FEW = ["--k1", "8", "--k2", "2"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(features: np.ndarray, **columns: Any) -> list[str]:
    """Writes F.npz and gives the command's arguments."""
    np.savez("F.npz", features=features, **columns)
    return ["label", "F.npz", "--out", "new/L.npy"]


def persons(count: int = 60) -> np.ndarray:
    """10 images each, and the first image is of nobody."""
    generator = np.random.default_rng(0)
    features = np.repeat(generator.normal(size=(count // 10, 32)), 10, axis=0) + 0.3 * generator.normal(
        size=(count, 32)
    )
    features[0] = generator.normal(size=32)
    return features.astype(np.float32)


@pytest.mark.parametrize("method", ["dbscan", "hdbscan"])
def test_labels_are_those_of_the_stages(method: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*write(persons()), *FEW, "--method", method, "--eps", "0.7", "--min-samples", "3"]) == 0
    labels = np.load("new/L.npy", allow_pickle=False)
    settings = LabellingSettings(method=method, eps=0.7, k1=8, k2=2, min_samples=3)
    assert np.array_equal(labels, pseudo_labels(persons(), settings))
    assert labels.dtype == np.int64
    assert np.unique(labels[labels >= 0]).tolist() == list(range(6))
    out = capsys.readouterr().out
    assert out == f"new/L.npy: 60 images, 6 clusters, {(labels < 0).mean():.1%} outliers\n"


def test_other_columns_and_float_types_do_not_matter() -> None:
    assert main([*write(persons().astype(np.float64), person=np.array([{}, 1], dtype=object)), *FEW]) == 0
    expected = pseudo_labels(persons(), LabellingSettings(k1=8, k2=2))
    assert np.array_equal(np.load("new/L.npy"), expected)


def test_the_defaults_are_those_of_the_settings() -> None:
    settings = LabellingSettings().model_dump()
    given = {option.name: option.default for option in label.params if option.name in settings}
    assert given == {name: settings[name] for name in ("method", "eps", "k1", "k2", "min_samples")}


def test_no_cluster_at_all_says_what_to_try(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*write(np.eye(40, dtype=np.float32)), "--k1", "2", "--k2", "1"]) == 0
    out, err = capsys.readouterr()
    assert "0 clusters, 100.0% outliers" in out
    assert "raise --eps, or lower --min-samples" in err


def test_rows_of_zeros_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    features = persons()
    features[[7, 30]] = 0
    assert main([*write(features), *FEW]) == 0
    assert "F.npz: row 7 is all zeros (2 such rows)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "F.npz: pseudo-labels: 20 features, but k1 = 30 neighbours are asked for"),
        (["--k1", "10", "--k2", "11"], "F.npz: k2 must be 1 to k1 (10), found 11"),
        (["--k1", "10", "--min-samples", "21"], "20 features, but a cluster needs min_samples = 21"),
        (["--eps", "0"], "--eps: expected a number between 0 and 1, both excluded, found 0.0"),
        (["--eps", "1"], "both excluded, found 1.0"),
        (["--eps", "nan"], "both excluded, found nan"),
        (["--k1", "0"], "'--k1': 0 is not in the range x>=1"),
        (["--min-samples", "1"], "'--min-samples': 1 is not in the range x>=2"),
        (["--method", "kmeans"], "'kmeans' is not one of 'dbscan', 'hdbscan'"),
    ],
)
def test_numbers_that_cannot_work_are_refused(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*write(persons(20)), *options]) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert "Traceback" not in out + err
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (np.full((20, 4), np.nan, dtype=np.float32), "F.npz: features: row 0 is not finite (20 such rows)"),
        (np.ones(20, dtype=np.float32), "F.npz: features: expected a matrix [N, D] of floats, found shape (20,)"),
        (np.ones((20, 4), dtype=np.int64), "of floats, found shape (20, 4) of int64"),
        (np.array([["a"]]), "of floats, found shape (1, 1) of <U1"),
        (np.ones((0, 4), dtype=np.float32), "0 features"),
        (np.array([{}]), "F.npz: not a readable .npz of plain arrays"),
    ],
)
def test_features_that_cannot_be_used_are_refused(
    features: np.ndarray, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*write(features), *FEW]) == 2
    assert said in capsys.readouterr().err
    assert not Path("new").exists()


def test_files_that_are_no_features_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("other.npz", person=np.ones(3))
    np.save("array.npz.npy", persons())
    Path("array.npz.npy").rename("array.npz")
    Path("text.npz").write_text("not an archive")
    Path("empty.npz").touch()
    for name, said in (
        ("nowhere.npz", "nowhere.npz: no such file. Write one with `itkm embed"),
        ("other.npz", "other.npz: no column `features`, found person."),
        ("array.npz", "array.npz: not a readable .npz"),
        ("text.npz", "text.npz: not a readable .npz"),
        ("empty.npz", "empty.npz: not a readable .npz"),
    ):
        assert main(["label", name, "--out", "L.npy"]) == 2
        assert said in capsys.readouterr().err
    assert not Path("L.npy").exists()


def test_a_failure_leaves_the_old_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [*write(persons()), *FEW]
    assert main(arguments) == 0
    before = Path("new/L.npy").read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError("cut off")

    monkeypatch.setattr(np, "save", fail)
    assert main(arguments) == 1
    assert Path("new/L.npy").read_bytes() == before
    assert [path.name for path in Path("new").iterdir()] == ["L.npy"]


def test_a_file_of_another_kind_is_no_reason_to_load_it_unsafely(capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.npz").write_text("not an archive")
    assert main(["label", "text.npz", "--out", "L.npy"]) == 2
    err = capsys.readouterr().err
    assert "but a file of another kind. Expected what `itkm embed" in err
    assert "pickle" not in err


def test_an_archive_of_something_else_than_arrays_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile("F.npz", "w") as archive:
        archive.writestr("features", "text")
    assert main(["label", "F.npz", "--out", "L.npy"]) == 2
    assert "F.npz: features: expected a matrix [N, D] of floats, found shape ()" in capsys.readouterr().err


def test_doubles_that_float32_cannot_hold_are_refused_without_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    features = persons().astype(np.float64)
    features[3, 0] = 1e300
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main([*write(features), *FEW]) == 2
    assert "F.npz: features: row 3 is not finite (1 such rows)" in capsys.readouterr().err
    assert not Path("new").exists()


@pytest.mark.parametrize("out", ["F.npz/L.npy", "F.npz/new/L.npy", "gone/L.npy"])
def test_labels_below_a_file_are_refused(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(persons())
    Path("gone").symlink_to("nowhere")
    before = Path("F.npz").read_bytes()
    assert main(["label", "F.npz", *FEW, "--out", out]) == 2
    said = f"{out}: {out.split('/', maxsplit=1)[0]} is not a folder. Choose another place to write to"
    assert said in capsys.readouterr().err
    assert Path("F.npz").read_bytes() == before


def test_one_cluster_is_dbscans_and_hdbscan_says_that_it_returns_none(capsys: pytest.CaptureFixture[str]) -> None:
    equal = write(np.ones((50, 4), dtype=np.float32))
    assert main([*equal, "--method", "dbscan"]) == 0
    assert "1 clusters, 0.0% outliers" in capsys.readouterr().out
    assert main([*equal, "--method", "hdbscan"]) == 0
    out, err = capsys.readouterr()
    assert "0 clusters, 100.0% outliers" in out
    assert "one alone it never returns" in err
    assert "near enough" not in err
