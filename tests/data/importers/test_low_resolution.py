"""The construction of cross-resolution sets: what is reduced, how, and that the manifest makes it again."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from itkm.data.importers import mlr_cuhk03, mlr_viper
from itkm.data.importers.low_resolution import choose_cameras, list_packed, reduce_images, reduced, training_half
from itkm.data.importers.source import Part, Request, SourceImage
from itkm.errors import InputError
from planted import content, draw, imported, plant

VIEWS = st.lists(st.tuples(st.integers(-1, 6), st.integers(1, 3)), max_size=40)  # person and camera of each image


def listed(views: Sequence[tuple[int, int]]) -> list[SourceImage]:
    return [
        SourceImage(Path(f"{n}.png"), {"person": person, "camera": f"c{camera}", "source": f"{n}.png"}, where="")
        for n, (person, camera) in enumerate(views)
    ]


@given(VIEWS, st.integers(0, 20))
def test_one_camera_of_each_person_is_low(views: list[tuple[int, int]], seed: int) -> None:
    images = listed(views)
    made = reduce_images(images, choose_cameras(images, seed=seed), {1, 2, 3}, method="bilinear", seed=seed)
    assert [image.row["camera"] for image in made] == [image.row["camera"] for image in images]
    for person in range(-1, 7):
        cameras = {camera for own, camera in views if own == person}
        low = {image.row["camera"] for image in made if image.row["person"] == person and image.row["group"] == "low"}
        high = {image.row["camera"] for image in made if image.row["person"] == person and image.row["group"] == "high"}
        assert len(low) == (1 if person > 0 and len(cameras) > 1 else 0)
        assert low.isdisjoint(high) and len(low | high) == len(cameras)
    for image in made:
        trained = image.row["person"] in {1, 2, 3}
        expected = "train" if trained else {"low": "query", "high": "gallery"}[str(image.row["group"])]
        assert image.row["split"] == expected
        assert bool(re.fullmatch(r"\d+\.png \(bilinear 1/[234]\)", str(image.row["source"]))) == (
            image.row["group"] == "low"
        )


@given(VIEWS, st.integers(0, 20), st.data())
def test_a_missing_image_changes_no_other(views: list[tuple[int, int]], seed: int, data: st.DataObject) -> None:
    images = listed([*views, (7, 1)])
    kept = data.draw(st.sampled_from(range(len(images))))
    cameras = choose_cameras(images, seed=seed)
    fewer = [image for place, image in enumerate(images) if place != kept]
    rows = {image.file: image.row for image in reduce_images(images, cameras, {1}, method="lanczos", seed=seed)}
    again = {image.file: image.row for image in reduce_images(fewer, cameras, {1}, method="lanczos", seed=seed)}
    assert all(rows[file] == row for file, row in again.items())
    lost = images[kept].row["person"]
    others = choose_cameras(fewer, seed=seed)
    assert {person: camera for person, camera in cameras.items() if person != lost} == {
        person: camera for person, camera in others.items() if person != lost
    }


def test_the_choices_are_uniform_and_differ_by_seed() -> None:
    images = listed([(person, camera) for person in range(1, 1201) for camera in (1, 2, 3)])
    first, second = choose_cameras(images, seed=1), choose_cameras(images, seed=2)
    counts = Counter(first.values())
    assert all(abs(count - 400) < 5 * np.sqrt(1200 * 2 / 9) for count in counts.values())
    assert sum(first[person] == second[person] for person in first) < 600
    made = [str(image.row["source"]) for image in reduce_images(images, first, set(), method="bicubic", seed=1)]
    factors = Counter(source[-2] for source in made if "(" in source)
    assert set(factors) == {"2", "3", "4"}
    assert all(abs(count - 400) < 5 * np.sqrt(1200 * 2 / 9) for count in factors.values())


def test_the_draws_are_these_for_ever() -> None:
    images = listed([(person, camera) for person in range(1, 9) for camera in (1, 2)])
    assert "".join(choose_cameras(images, seed=1).values()) == "c2c2c1c2c2c2c2c1"
    made = reduce_images(images, dict.fromkeys(range(1, 9), "c1"), set(), method="bicubic", seed=1)
    assert "".join(str(image.row["source"])[-2] for image in made if image.row["group"] == "low") == "42424224"


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "lanczos"])
def test_an_image_is_reduced_by_its_factor(method: str) -> None:
    original = draw(1, size=(50, 101))
    for factor, size in ((2, (25, 50)), (3, (16, 33)), (4, (12, 25))):
        made = Image.open(io.BytesIO(reduced(original, method=method, factor=factor, name="x")))  # type: ignore[arg-type]
        assert (made.format, made.size) == ("PNG", size)
        expected = Image.open(io.BytesIO(original)).resize(size, getattr(Image.Resampling, method.upper()))
        assert np.array_equal(np.asarray(made), np.asarray(expected))
    narrow = Image.open(io.BytesIO(reduced(draw(2, size=(20, 80)), method="bicubic", factor=4, name="x")))
    assert narrow.size == (8, 20)  # not 5: the least that an image may have


@given(st.sets(st.integers(1, 400), min_size=1), st.integers(1, 10))
def test_half_of_the_persons(persons: set[int], trial: int) -> None:
    half = training_half(persons, trial=trial)
    assert half <= persons and len(half) == len(persons) // 2
    assert half == training_half(sorted(persons, reverse=True), trial=trial)


def test_the_manifest_and_the_originals_make_the_same_images_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "VIPeR"
    plant(
        source,
        *(f"cam_{view}/{person:03d}_{angle}.bmp" for person in range(8) for view, angle in (("a", 0), ("b", 90))),
        size=(48, 128),
    )
    monkeypatch.setattr(mlr_viper, "PARTS", [Part("cam_a", 8, 8), Part("cam_b", 8, 8)])
    frames = [imported(mlr_viper.FORMAT, source, tmp_path / name, trial=3)[0] for name in ("first", "again")]
    assert frames[0].equals(frames[1])
    other = imported(mlr_viper.FORMAT, source, tmp_path / "other", trial=4)[0]
    assert set(other["source"]) != set(frames[0]["source"])
    made = frames[0][frames[0]["group"] == "low"]
    assert len(made) == 8
    for name in made["source"]:
        packed = content(frames[0], tmp_path / "first", name)
        assert packed == content(frames[1], tmp_path / "again", name)
        match = re.fullmatch(r"(.+) \(bicubic 1/([234])\)", name)
        assert match is not None
        with Image.open(source / match[1]) as image:
            small = image.resize((48 // int(match[2]), 128 // int(match[2])), Image.Resampling.BICUBIC)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(packed))), np.asarray(small))


def test_a_packed_set_is_one_division(tmp_path: Path) -> None:
    plant(
        tmp_path, "train/lr/0001_c1_2x.png", "train/hr/0001_c2.png", "query/lr/0002_c1_4x.png", "gallery/hr/0002_c2.png"
    )
    request = Request(tmp_path, "cr", {}, trial=2)
    with pytest.raises(InputError, match="one division, and --trial 2 is given"):
        list_packed(request, {"train/lr": "train", "train/hr": "train"})
    with pytest.raises(InputError, match="one division"):
        mlr_cuhk03.list_mlr_cuhk03(request)
