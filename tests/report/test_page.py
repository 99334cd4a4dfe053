from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from browser import CHROMIUM, measure
from itkm.config import Settings
from itkm.data.manifest import COLUMNS, read_table
from itkm.report.page import Report, build_page
from itkm.report.table import MODELS
from itkm.report.thumbnails import Thumbnails
from itkm.stages.layout import Layout
from itkm.stages.report import collect_pictures, read_histories, run

SECTIONS = ("result", "curves", "lists", "clusters", "matches", "settings", "versions")
VOID = {"meta", "img", "br", "line", "circle", "path", "link", "input"}


@pytest.fixture(scope="session")
def report(project: tuple[Settings, Layout]) -> Report:
    settings, layout = project
    galleries, thumbnails = collect_pictures(settings, layout)
    return Report(
        metrics=json.loads(layout.metrics.read_text()),
        galleries=galleries,
        histories=read_histories(layout),
        settings=settings,
        versions={"itkm": "1.2.3", "git commit": "abc"},
        thumbnails=thumbnails,
    )


@pytest.fixture(scope="session")
def page(report: Report) -> str:
    return build_page(report, images=True)


class Outline(HTMLParser):
    """Open elements, ids, and images without a text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [values["id"]] if values.get("id") else []
        self.silent += tag == "img" and not values.get("alt")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass


def test_page_has_every_section_and_is_well_formed(page: str) -> None:
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert [name for name in outline.ids if name in SECTIONS] == list(SECTIONS)
    assert len(set(outline.ids)) == len(outline.ids)
    assert outline.silent == 0
    assert page.startswith("<!doctype html>")


def test_page_names_protocol_result_and_versions(page: str) -> None:
    text = re.sub(r"<[^>]+>|\s+", " ", page)
    assert "Average mAP: 30.0 % zero-shot, 38.0 % after Stage I, 54.0 % after Stage III." in text
    assert "cross-group, 240 queries, gallery 240" in text
    assert "infrared asks visible" in text
    assert "Rendered persons" in text
    assert "1.2.3" in text
    assert "label_smoothing" in text


def test_nothing_outside_is_named_or_reachable(page: str) -> None:
    words = re.sub(r"base64,[^\"]*", "base64,", page)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<script|<iframe|<link", words, re.IGNORECASE)
    assert all(own.startswith("data:image/jpeg;base64,") for own in re.findall(r'\ssrc="([^"]*)"', page))
    assert all(own.startswith("#") for own in re.findall(r'href="([^"]*)"', page))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert policy[1].startswith("default-src 'none'; img-src data:;")


def test_marks_are_those_of_the_galleries(page: str, report: Report) -> None:
    pictures = [picture for gallery in report.galleries for picture in gallery.pictures]
    shown = page[page.index('id="lists"') :]
    assert shown.count('class="tile hit"') == sum(picture.right is True for picture in pictures) > 0
    assert shown.count('class="tile miss"') == sum(picture.right is False for picture in pictures) > 0
    for right, mark in ((True, "✓"), (False, "✗")):
        kind = "hit" if right else "miss"
        tiles = re.findall(rf'class="tile {kind}">(.*?)</span>\s*</span>', shown, re.DOTALL)
        assert all(mark in tile and ("alt=" in tile) for tile in tiles)


def test_copy_without_images_has_none_but_keeps_the_marks(page: str, report: Report) -> None:
    bare = build_page(report, images=False)
    assert "data:image" not in bare
    assert "<img" not in bare
    assert bare.count('class="tile hit"') == page.count('class="tile hit"')
    assert len(bare) < 300_000


def test_values_are_escaped(report: Report) -> None:
    evil = "<script>alert(1)</script>"
    scenario = next(iter(report.metrics["scenarios"].values()))
    metrics = {**report.metrics, "scenarios": {**report.metrics["scenarios"], evil: scenario}}
    gallery = dataclasses.replace(
        report.galleries[0], scenario=evil, queries=(), clusters=(), groups=(evil, evil), direction=evil
    )
    gallery = dataclasses.replace(gallery, cluster_pairs=(), instance_pairs=())
    history = [{"epoch": 1.0, "scenario": evil, "group": '"><b>', "clusters": 3.0, "outliers": 0.1, "loss": 1.0}]
    page = build_page(
        dataclasses.replace(
            report,
            metrics=metrics,
            galleries=(gallery, *report.galleries),
            histories={"homogeneous": history},
            versions={"git commit": evil},
        ),
        images=True,
    )
    assert "<script" not in page
    assert '"><b>' not in page
    assert page.count("&lt;script&gt;") >= 5


def test_page_of_a_run_without_any_score(report: Report) -> None:
    empty = dict.fromkeys(MODELS)
    scenarios = {name: own | empty for name, own in report.metrics["scenarios"].items()}
    galleries = [dataclasses.replace(own, queries=()) for own in report.galleries]
    bare = dataclasses.replace(
        report, metrics={**report.metrics, "scenarios": scenarios, "average": empty}, galleries=galleries
    )
    page = build_page(bare, images=True)
    assert "Nothing was scored" in page
    assert "not scored: no labelled query and gallery images" in page
    assert "No labelled query and gallery images." in page


def test_stage_writes_the_page_twice_the_same_and_hands_no_image_on(
    project: tuple[Settings, Layout], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, layout = project
    logged: list[str] = []
    monkeypatch.setattr(
        "itkm.stages.report.log_run", lambda *arguments, root: logged.append(arguments[3].read_text(encoding="utf-8"))
    )
    pages = []
    for _ in range(2):
        run(settings, layout)
        pages.append(layout.report.read_bytes())
    assert pages[0] == pages[1]
    assert len(pages[0]) < 5_000_000
    assert b"data:image/jpeg" in pages[0]
    assert "data:image" not in logged[0]


def test_pictures_shrink_to_the_budget(
    project: tuple[Settings, Layout], report: Report, caplog: pytest.LogCaptureFixture
) -> None:
    layout, gallery = project[1], report.galleries[0]
    paths = [picture.path for picture in gallery.pictures][:40]
    table = read_table(layout.evaluation_table(gallery.scenario), COLUMNS)

    def size(budget: int) -> int:
        thumbnails = Thumbnails(budget)
        thumbnails.add(gallery.scenario, paths, table, layout.data(gallery.scenario))
        encoded = thumbnails.encode()
        return sum(len(encoded[gallery.scenario, path]) for path in paths)

    full = size(10**9)
    assert size(full) == full
    assert size(full - 1) < full
    assert not caplog.records
    assert size(10) > 10
    assert "pictures take" in caplog.text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [390, 1280])
def test_page_fits_the_window_in_chromium(page: str, tmp_path: Path, width: int) -> None:
    assert measure(page, tmp_path, width=width) == f"{width} 0 0 0"
