"""The file between `itkm embed` and `itkm search`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from itkm.errors import InputError
from itkm.evaluation.features import FeatureSet
from itkm.retrieval.gallery import Gallery

PLAIN: dict[str, Any] = {"features": np.eye(3, dtype=np.float32), "person": [1, 2, 3], "camera": [0, 0, 1]}


def gallery() -> Gallery:
    images = FeatureSet(
        np.eye(3, dtype=np.float32), np.arange(3), np.zeros(3, dtype=np.int64), path=np.array(["a", "b", "ü"])
    )
    return Gallery(images, np.ones((3, 2), dtype=np.float32), "f" * 64, Path("data/vi"))


def test_a_gallery_survives_its_file_which_is_a_feature_file(tmp_path: Path) -> None:
    gallery().save(tmp_path / "new" / "g.npz")
    loaded = Gallery.load(tmp_path / "new" / "g.npz")
    assert loaded.images.path is not None and loaded.images.path.tolist() == ["a", "b", "ü"]
    assert loaded.projected is not None and loaded.projected.tolist() == [[1, 1]] * 3
    assert (loaded.model, loaded.data) == ("f" * 64, Path("data/vi"))
    assert FeatureSet.load(tmp_path / "new" / "g.npz").features.tolist() == np.eye(3).tolist()


def test_the_same_gallery_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("1.npz", "2.npz"):
        gallery().save(tmp_path / name)
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()


def test_any_features_can_be_searched(tmp_path: Path) -> None:
    np.savez(tmp_path / "g.npz", **PLAIN)
    loaded = Gallery.load(tmp_path / "g.npz")
    assert (loaded.projected, loaded.model, loaded.data) == (None, "", Path())


def test_what_cannot_be_searched_is_refused(tmp_path: Path) -> None:
    empty = {"features": np.empty((0, 4), dtype=np.float32), "person": np.empty(0, int), "camera": np.empty(0, int)}
    np.savez(tmp_path / "empty.npz", **empty)
    with pytest.raises(InputError, match=r"empty\.npz: an empty gallery"):
        Gallery.load(tmp_path / "empty.npz")
    np.savez(tmp_path / "short.npz", **PLAIN, projected=np.ones((2, 2)))
    with pytest.raises(InputError, match=r"short\.npz: projected: expected one row for each of 3 features"):
        Gallery.load(tmp_path / "short.npz")
    np.savez(tmp_path / "pickled.npz", **PLAIN, model=np.array(None))
    with pytest.raises(InputError, match=r"pickled\.npz: not a readable \.npz of plain arrays"):
        Gallery.load(tmp_path / "pickled.npz")
    with pytest.raises(InputError, match=r"gone\.npz: no such file"):
        Gallery.load(tmp_path / "gone.npz")
