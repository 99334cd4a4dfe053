from __future__ import annotations

import logging
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from itkm.errors import InputError
from itkm.evaluation.draws import SeededDraw, read_published_draw
from itkm.evaluation.features import FeatureSet
from itkm.evaluation.protocols import PROTOCOLS, with_published_draw
from itkm.evaluation.ranking import score

PERSONS, CAMERAS, IMAGES = 4, 6, 12


def sysu_images() -> FeatureSet:
    """Twelve images of each person by each camera, in no order; person 2 was not seen by camera 4."""
    rng = np.random.default_rng(0)
    places = [
        (person, camera, number)
        for person in range(1, PERSONS + 1)
        for camera in range(1, CAMERAS + 1)
        for number in range(1, IMAGES + 1)
        if (person, camera) != (2, 4)
    ]
    shuffled = [places[index] for index in rng.permutation(len(places))]
    person, camera, _ = np.array(shuffled).T
    path = np.array([f"cam{camera}/{person:04}/{number:04}.jpg" for person, camera, number in shuffled])
    return FeatureSet(rng.normal(size=(len(path), 8)).astype(np.float32), person, camera, path=path)


def names(images: FeatureSet, rows: np.ndarray) -> list[str]:
    assert images.path is not None
    return sorted(images.path[rows].tolist())


def test_the_seeded_draw_of_sysu_is_the_published_codes() -> None:
    images = sysu_images()
    trials = SeededDraw(per_camera=True)(images, np.flatnonzero(np.isin(images.camera, (1, 2, 4, 5))))
    assert len(trials) == 10
    for trial, rows in enumerate(trials):
        random.seed(trial)
        expected = []
        for person in range(1, PERSONS + 1):
            for camera in (1, 2, 4, 5):
                files = sorted(name for name in images.path if name.startswith(f"cam{camera}/{person:04}/"))
                if files:
                    expected.append(random.choice(files))
        assert names(images, rows) == sorted(expected)
        assert len(rows) == PERSONS * 4 - 1
        assert (np.diff(rows) > 0).all()


def test_a_draw_with_one_seed_goes_on_from_trial_to_trial() -> None:
    images = sysu_images()
    trials = SeededDraw(per_camera=False, seed=3)(images, np.flatnonzero(images.camera == 1))
    random.seed(3)
    for rows in trials:
        lists = [sorted(name for name in images.path if name.startswith(f"cam1/{p:04}/")) for p in range(1, 5)]
        assert names(images, rows) == sorted(random.choice(files) for files in lists)


def test_several_images_are_drawn_without_replacement_and_all_where_there_are_fewer() -> None:
    images = sysu_images()
    few = np.flatnonzero((images.camera != 1) | np.isin(images.path, ["cam1/0001/0001.jpg", "cam1/0001/0007.jpg"]))
    for rows in SeededDraw(per_camera=True, images=10)(images, few):
        counts = {(p, c): 0 for p in range(1, 5) for c in range(1, 7)}
        for p, c in zip(images.person[rows], images.camera[rows], strict=True):
            counts[int(p), int(c)] += 1
        assert len(set(rows.tolist())) == len(rows)
        assert counts[1, 1] == 2
        assert counts[2, 1] == counts[2, 4] == 0
        assert counts[3, 5] == 10


def test_without_file_names_the_order_of_rows_is_drawn_from_and_said(caplog: pytest.LogCaptureFixture) -> None:
    images = replace(sysu_images(), path=None)
    rows = np.flatnonzero(images.camera == 1)
    with caplog.at_level(logging.WARNING):
        first = SeededDraw(per_camera=True)(images, rows)[0]
    random.seed(0)
    expected = [
        random.choice(np.flatnonzero((images.camera == 1) & (images.person == p)).tolist()) for p in (1, 2, 3, 4)
    ]
    assert first.tolist() == sorted(expected)
    assert "no column `path`" in caplog.text


def write_published(path: Path, *, trials: int = 10, longest: int = IMAGES) -> np.ndarray:
    """A `rand_perm_cam.mat` as its authors store it: cells of cameras of cells of persons of permutations."""
    rng = np.random.default_rng(7)
    cameras = np.empty((CAMERAS, 1), dtype=object)
    for camera in range(CAMERAS):
        cameras[camera, 0] = np.empty((1, PERSONS), dtype=object)
        for person in range(PERSONS):
            permutations = [rng.permutation(longest) + 1 for _ in range(trials)]
            cameras[camera, 0][0, person] = np.array(permutations, dtype=np.uint8)
    cameras[3, 0][0, 1] = np.empty((0, 0))
    savemat(path, {"rand_perm_cam": cameras})
    return cameras


@pytest.mark.parametrize(("name", "images_each"), [("sysu-all", 1), ("sysu-all-multi", 10)])
def test_the_published_draw_takes_the_images_that_it_names(tmp_path: Path, name: str, images_each: int) -> None:
    cameras = write_published(tmp_path / "rand_perm_cam.mat")
    images = sysu_images()
    protocol = with_published_draw(PROTOCOLS[name], tmp_path / "rand_perm_cam.mat")
    trials = protocol.draw(images, protocol.shown(images))
    assert len(trials) == 10
    for trial, rows in enumerate(trials):
        expected = []
        for camera in (1, 2, 4, 5):
            for person in range(1, PERSONS + 1):
                if (person, camera) != (2, 4):
                    chosen = cameras[camera - 1, 0][0, person - 1][trial][:images_each]
                    expected += [f"cam{camera}/{person:04}/{number:04}.jpg" for number in chosen]
        assert names(images, rows) == sorted(expected)
    infrared = images.rows(np.isin(images.camera, (3, 6)))
    assert score(infrared, images, protocol).gallery == len(trials[0])


@pytest.mark.parametrize(("trials", "longest"), [(9, IMAGES), (10, 40)])
def test_a_draw_that_does_not_fit_the_gallery_is_refused(tmp_path: Path, trials: int, longest: int) -> None:
    write_published(tmp_path / "f.mat", trials=trials, longest=longest)
    images = sysu_images()
    with pytest.raises(InputError, match=r"person 1, camera 1: the published draw does not fit the 12 gallery images"):
        read_published_draw(tmp_path / "f.mat", images=10)(images, np.arange(len(images)))


def test_persons_without_a_draw_are_named(tmp_path: Path) -> None:
    write_published(tmp_path / "f.mat")
    images = sysu_images()
    with pytest.raises(InputError, match="person 9, camera 1: not in the published draw"):
        read_published_draw(tmp_path / "f.mat", images=1)(
            replace(images, person=np.full(len(images), 9)), np.arange(len(images))
        )


def test_other_files_are_no_published_draw(tmp_path: Path) -> None:
    savemat(tmp_path / "other.mat", {"x": np.ones(3)})
    (tmp_path / "text.mat").write_text("not a .mat file")
    (tmp_path / "empty.mat").touch()
    write_published(tmp_path / "whole.mat")
    (tmp_path / "half.mat").write_bytes((tmp_path / "whole.mat").read_bytes()[:2000])
    for name in ("other.mat", "text.mat", "empty.mat", "half.mat"):
        with pytest.raises(InputError, match=rf"{name}: not SYSU-MM01's rand_perm_cam.mat"):
            read_published_draw(tmp_path / name, images=1)
    with pytest.raises(InputError, match="no such file"):
        read_published_draw(tmp_path / "none.mat", images=1)
