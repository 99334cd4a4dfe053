"""The page of a ranked list: offline, escaped, with the pictures that can be found."""

from __future__ import annotations

import base64
import io
import logging
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from browser import CHROMIUM, measure
from itkm.data.images import decode
from itkm.data.manifest import names_of, read_manifest, write_manifest
from itkm.data.shards import ShardReader
from itkm.evaluation.features import FeatureSet
from itkm.retrieval.page import build_page, find_pictures, picture_of
from itkm.retrieval.search import Hit
from itkm.stages.layout import Layout

EVIL = '"><script>alert(1)</script>'


def make_hit(row: int, *, path: str = "a.jpg", person: int | None = 7, group: str = "low") -> Hit:
    return Hit(rank=row + 1, row=row, similarity=0.5, path=path, person=person, camera=3, group=group)


def feature_set(paths: list[str], groups: list[str]) -> FeatureSet:
    zeros = np.zeros(len(paths), dtype=np.int64)
    features = np.zeros((len(paths), 1), dtype=np.float32)
    return FeatureSet(features, zeros, zeros, path=np.array(paths), group=np.array(groups))


def pixels(uri: str) -> np.ndarray:
    content = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image).astype(int)


@pytest.fixture
def picture(photos: Path) -> str:
    return picture_of(photos / "000.png")


def test_the_page_says_what_is_known(picture: str) -> None:
    hits = [make_hit(0), make_hit(1, person=None, group="", path="")]
    page = build_page(hits, [picture, None], title="a man", asked="", count=12345)
    text = re.sub(r"<style>.*</style>|<[^>]+>|\s+", " ", page, flags=re.DOTALL)
    assert "The nearest 2 of 12,345 gallery images" in text
    assert "person 7, camera 3, low" in text
    assert 'alt="Rank 1: person 7, camera 3, low"' in page
    assert 'aria-label="Rank 2: camera 3, picture not found"' in page
    assert page.count("<img") == 1
    assert build_page(hits, [picture, None], title="a man", asked="", count=12345) == page


def test_nothing_outside_is_named_and_all_is_escaped(picture: str) -> None:
    page = build_page([make_hit(0, path=EVIL, group=EVIL)], [picture], title=EVIL, asked=picture, count=1)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 5
    words = re.sub(r"base64,[^\"]*", "base64,", page)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<iframe|<link", words, re.IGNORECASE)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy and policy[1].startswith("default-src 'none'; img-src data:;")


def test_pictures_of_a_scenario_come_from_its_shards(project: Layout) -> None:
    folder = project.data("vi")
    frame = read_manifest(folder)
    images = feature_set(names_of(frame).tolist(), frame["group"].tolist())
    found = find_pictures([make_hit(row) for row in (40, 3)], images, folder)
    for row, uri in zip((40, 3), found, strict=True):
        content = ShardReader(folder).read(frame["shard"][row], frame["path"][row])
        assert uri is not None
        assert np.abs(pixels(uri) - np.asarray(decode(content, name=""))).mean() < 12  # JPEG of a noisy picture


def test_a_file_that_stands_in_both_groups_is_told_by_its_group(project: Layout, tmp_path: Path) -> None:
    """Where a second group is made of the same files, the group tells; where nothing tells, no picture is shown."""
    frame = read_manifest(project.data("vi"))
    visible, infrared = (int(np.flatnonzero(frame["group"] == name)[0]) for name in ("visible", "infrared"))
    frame.loc[[visible, infrared], "source"] = "same.jpg"
    twice = np.flatnonzero(frame["group"] == "visible")[1:3]
    frame.loc[twice, "source"] = "twice.jpg"
    write_manifest(frame, tmp_path)
    (tmp_path / "shards").symlink_to((project.data("vi") / "shards").resolve())
    images = feature_set(["same.jpg", "same.jpg", "twice.jpg"], ["visible", "infrared", "visible"])
    first, second, third = find_pictures([make_hit(row) for row in range(3)], images, tmp_path)
    assert first and second and first != second
    assert third is None


def test_missing_pictures_are_counted_with_the_remedy(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = feature_set(["000.png", "gone.png"], ["low", "low"])
    with caplog.at_level(logging.WARNING):
        first, second = find_pictures([make_hit(0), make_hit(1)], images, photos)
    assert first == picture_of(photos / "000.png")
    assert second is None
    assert f"1 of 2 pictures were not found in {photos}. Say with --data" in caplog.text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: nobody can look at the page")
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_the_window_in_chromium(picture: str, tmp_path: Path, width: int) -> None:
    hits = [make_hit(row, path="a/very/long/name/" + "x" * 90) for row in range(9)]
    title = "a_query_with_a_very_long_name_and_no_space_in_it_" * 3
    page = build_page(hits, [*[picture] * 8, None], title=title, asked=picture, count=9)
    assert measure(page, tmp_path, width=width) == f"{width} 0 0 0"
