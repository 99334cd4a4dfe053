from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from itkm.errors import InputError
from itkm.evaluation.features import FeatureSet

COLUMNS: dict[str, Any] = {
    "features": np.arange(6, dtype=np.float32).reshape(3, 2),
    "person": np.array([1, 2, -1]),
    "camera": np.array([0, 0, 1]),
    "clothes": np.array([5, -1, 7]),
    "scenario": np.array(["vi", "vi", "vi"]),
    "group": np.array(["visible", "infrared", "visible"]),
    "path": np.array(["a.jpg", "b.jpg", "über/c.jpg"]),
    "flipped": np.arange(6, 0, -1, dtype=np.float32).reshape(3, 2),
}


def test_a_set_survives_its_file(tmp_path: Path) -> None:
    FeatureSet(**COLUMNS).save(tmp_path / "new" / "f.npz")
    loaded = FeatureSet.load(tmp_path / "new" / "f.npz")
    for name, values in COLUMNS.items():
        assert getattr(loaded, name).tolist() == values.tolist()
    assert len(loaded) == 3


def test_optional_columns_may_be_absent_and_others_are_ignored(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", features=COLUMNS["features"], person=[1, 2, 3], camera=[0, 0, 0], note="mine")
    loaded = FeatureSet.load(tmp_path / "f.npz")
    assert loaded.clothes is loaded.scenario is loaded.group is loaded.path is None


def test_other_number_types_are_widened(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "f.npz",
        features=np.ones((2, 3), dtype=np.float16),
        person=np.array([1, 2], dtype=np.int32),
        camera=np.array([0, 1], dtype=np.uint8),
    )
    loaded = FeatureSet.load(tmp_path / "f.npz")
    assert (loaded.features.dtype, loaded.person.dtype, loaded.camera.dtype) == (np.float32, np.int64, np.int64)


def test_rows_are_chosen_by_mask_or_number() -> None:
    whole = FeatureSet(**COLUMNS)
    for chosen in (np.array([True, False, True]), np.array([0, 2])):
        part = whole.rows(chosen)
        assert part.person.tolist() == [1, -1]
        assert part.path is not None
        assert part.path.tolist() == ["a.jpg", "über/c.jpg"]
    assert FeatureSet(whole.features, whole.person, whole.camera).rows(np.array([1])).clothes is None


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("features", np.ones(3, dtype=np.float32), r"expected a matrix \[N, D\]"),
        ("features", np.ones((3, 2), dtype=np.int64), "of floats"),
        ("features", np.array([[0, 1], [np.nan, 0], [0, np.inf]], dtype=np.float32), "row 1 is not finite .2 such"),
        ("person", np.array([1, 2]), "person: expected 3 values"),
        ("person", np.array([1.0, 2.0, 3.0]), "person: expected 3 values of integer"),
        ("person", np.array([1, -2, 3]), "person: row 1 is -2, expected 1 and up"),
        ("camera", np.array([[1, 2, 3]]), "camera: expected 3 values"),
        ("flipped", np.ones((3, 3), dtype=np.float32), r"flipped: expected the shape of features, \(3, 2\)"),
        ("flipped", np.full((3, 2), np.nan, dtype=np.float32), "flipped: row 0 is not finite .3 such"),
        ("clothes", np.array([1]), "clothes: expected 3 values"),
        ("path", np.array([1, 2, 3]), "path: expected 3 values of str"),
    ],
)
def test_a_column_that_does_not_fit_is_named_with_its_file(
    tmp_path: Path, name: str, values: np.ndarray, message: str
) -> None:
    wrong = {**COLUMNS, name: values}
    with pytest.raises(InputError, match=message):
        FeatureSet(**wrong)
    np.savez(tmp_path / "f.npz", **wrong)
    with pytest.raises(InputError, match=rf"f\.npz: .*{message}"):
        FeatureSet.load(tmp_path / "f.npz")


@pytest.mark.parametrize("name", ["person", "camera", "clothes"])
def test_a_number_that_overflows_is_named_and_not_wrapped(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "f.npz", **{**COLUMNS, name: np.array([1, 2**63 + 5, 3], dtype=np.uint64)})
    with pytest.raises(InputError, match=rf"f\.npz: {name}: row 1 is 9223372036854775813, more than int64 holds"):
        FeatureSet.load(tmp_path / "f.npz")
    np.savez(tmp_path / "f.npz", **{**COLUMNS, name: np.array([1, 2**63 - 1, 3], dtype=np.uint64)})
    assert getattr(FeatureSet.load(tmp_path / "f.npz"), name)[1] == 2**63 - 1


def test_a_double_that_float32_cannot_hold_is_not_finite(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", **{**COLUMNS, "features": np.array([[1.0, 1], [1, 1], [1e300, 1]])})
    with pytest.raises(InputError, match="row 2 is not finite"):
        FeatureSet.load(tmp_path / "f.npz")


def test_flip_averaging_is_the_mean_of_both_directions() -> None:
    images = FeatureSet(**{**COLUMNS, "features": np.array([[3, 4], [2, 0], [0, 1]], dtype=np.float32)})
    averaged = images.averaged()
    flipped = COLUMNS["flipped"] / np.linalg.norm(COLUMNS["flipped"], axis=1, keepdims=True)
    assert averaged.features == pytest.approx((np.array([[0.6, 0.8], [1, 0], [0, 1]]) + flipped) / 2)
    assert averaged.flipped is None
    with pytest.raises(InputError, match="no column `flipped`"):
        averaged.averaged()


def test_missing_columns_and_files_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", features=COLUMNS["features"])
    with pytest.raises(InputError, match="no column person, camera"):
        FeatureSet.load(tmp_path / "f.npz")
    with pytest.raises(InputError, match="no such file"):
        FeatureSet.load(tmp_path / "g.npz")


def test_a_file_of_another_kind_is_no_reason_to_load_it_unsafely(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("not an archive")
    (tmp_path / "empty.npz").touch()
    np.save(tmp_path / "array.npy", COLUMNS["features"])
    for name in ("text.npz", "empty.npz", "array.npy"):
        with pytest.raises(InputError, match=r"but a file of another kind\. Expected what `itkm embed") as error:
            FeatureSet.load(tmp_path / name)
        assert "pickle" not in str(error.value)


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "whole.npz", **COLUMNS)
    content = bytearray((tmp_path / "whole.npz").read_bytes())
    content[60:120] = bytes(255 - byte for byte in content[60:120])
    (tmp_path / "changed.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"changed\.npz: not a readable"):
        FeatureSet.load(tmp_path / "changed.npz")


def test_pickles_and_other_files_are_refused_and_never_executed(tmp_path: Path) -> None:
    np.savez(tmp_path / "pickle.npz", **{**COLUMNS, "person": np.array([{}, {}, {}])})
    (tmp_path / "text.npz").write_text("not an archive")
    (tmp_path / "empty.npz").touch()
    np.save(tmp_path / "array.npy", COLUMNS["features"])
    (tmp_path / "folder.npz").mkdir()
    FeatureSet(**COLUMNS).save(tmp_path / "whole.npz")
    (tmp_path / "half.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:300])
    for name in ("pickle.npz", "text.npz", "empty.npz", "array.npy", "folder.npz", "half.npz"):
        with pytest.raises(InputError, match=f"{name}: not a readable"):
            FeatureSet.load(tmp_path / name)
