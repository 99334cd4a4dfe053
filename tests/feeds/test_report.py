"""The page of a feed: what it shows, that nothing of it lies outside, and how a browser shows it."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw
from profiles import FEED, make_features, make_profile, make_reference

from browser import CHROMIUM, measure
from itkm.config import FeedSettings
from itkm.feeds.pictures import HEAD, without_head
from itkm.feeds.report import SAMPLE, SECTIONS, WORST, write_report
from itkm.feeds.suite import validate
from itkm.feeds.thresholds import Reference
from itkm.feeds.verdict import Status, Verdict

VOID = {"meta", "img", "br", "line", "circle", "path", "rect", "link", "input"}
EVIL = '"><script>alert(1)</script>'
STATUSES: tuple[Status, ...] = ("accepted", "warnings", "refused")
Pages = dict[Status, Path]


def draw(number: int) -> bytes:
    """A crop: a face of one colour above a body of another."""
    image = Image.new("RGB", (64, 128), (90 + number % 60, 120, 100))
    ImageDraw.Draw(image).ellipse((22, 6, 42, 30), fill=(230, 180, 150))
    ImageDraw.Draw(image).rectangle((14, 40, 50, 118), fill=(number % 255, 60, 160))
    stream = io.BytesIO()
    image.save(stream, "JPEG")
    return stream.getvalue()


def make_feed(folder: Path, status: Status) -> Path:
    """A feed folder with every part of the page filled, and a verdict of that status."""
    profile = make_profile()
    if status != "accepted":
        profile.loc[:29, "brightness"] = np.linspace(1, 9, 30)
        profile.loc[40:45, "duplicate_group"] = [0, 0, 0, 0, 1, 1]
    if status == "refused":
        profile.loc[[60, 61], "evaluation_overlap"] = True
        profile.loc[90:97, ["decode_ok", "error", "brightness"]] = [False, "broken: truncated", np.nan]
    for number, row in profile[profile["decode_ok"]].iterrows():
        file = folder / "images" / row["path"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(draw(int(str(number))))
    for name in profile.loc[~profile["decode_ok"], "path"]:
        (folder / "quarantine").mkdir(exist_ok=True)
        reason = {"name": name, "rule": "broken", "message": "cannot be decoded (image file is truncated)."}
        (folder / "quarantine" / f"{name}.reason.json").write_text(json.dumps(reason))
    features = make_features(profile.loc[profile["decode_ok"], "camera"].to_numpy(), seed=9)
    known = make_reference(features=True)
    verdict = validate(profile, feed=FEED, settings=FeedSettings(), reference=known, features=features, folder=folder)
    write_report(folder, profile, verdict, reference=known, features=features, history=earlier())
    return folder


def earlier() -> pd.DataFrame:
    old = {"event": "validated", "quarantined": 2, "camera": "vi-c1", "override": ""}
    days = [
        {**old, "date": f"2026-02-{day:02d}T08:00:00Z", "feed": f"{day}", "images": 90 + day, "status": "warnings"}
        for day in range(1, 6)
    ]
    return pd.DataFrame([{**day, "shares": {"dark": 0.02 * number}} for number, day in enumerate(days)])


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    return {status: make_feed(tmp_path_factory.mktemp(status), status) for status in STATUSES}


@pytest.fixture
def read(pages: Pages) -> Callable[[Status], str]:
    return lambda status: (pages[status] / "report.html").read_text(encoding="utf-8")


class Outline(HTMLParser):
    """Open elements, ids, headings in order, and what lacks a text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.labels: list[str] = []
        self.headings: list[int] = []
        self.silent: list[str] = []
        self.captions = self.tables = self.unscoped = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [str(values["id"])] if values.get("id") else []
        self.labels += [str(values["aria-labelledby"])] if values.get("aria-labelledby") else []
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        if (tag == "img" and not values.get("alt")) or (tag == "svg" and not values.get("aria-labelledby")):
            self.silent.append(tag)
        self.tables += tag == "table"
        self.captions += tag == "caption"
        self.unscoped += tag == "th" and not values.get("scope")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [str(value) for name, value in attrs if name == "id"]


def words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL))


@pytest.mark.parametrize("status", STATUSES)
def test_the_page_is_well_formed_and_told_to_a_screen_reader(read: Callable[[Status], str], status: Status) -> None:
    page = read(status)
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert [name for name in outline.ids if name in SECTIONS] == list(SECTIONS)
    assert len(set(outline.ids)) == len(outline.ids)
    assert set(outline.labels) <= set(outline.ids)
    assert outline.silent == []
    assert outline.headings[0] == 1 and outline.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(outline.headings, outline.headings[1:], strict=False))
    assert outline.tables == outline.captions > 0
    assert outline.unscoped == 0
    assert all(page.count(f"<{name}") == 1 for name in ("header>", "main>", "footer>"))
    assert '<html lang="en">' in page


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("accepted", ("Accepted", "itkm feed accept {folder}")),
        ("warnings", ("Accepted with warnings", "Look at what failed.", "itkm feed accept {folder}")),
        (
            "refused",
            (
                "Refused",
                "Images are apart from those by which models are judged: not so in 2 of 100 images",
                "itkm feed validate drops/monday --camera vi-c1 --scenario vi --group visible",
                "--out {folder}-again --new-camera",
                'itkm feed accept {folder} --override "reason"',
            ),
        ),
    ],
)
def test_the_verdict_says_why_and_what_to_type(pages: Pages, status: Status, said: tuple[str, ...]) -> None:
    banner = words((pages[status] / "report.html").read_text(encoding="utf-8").split("<nav")[0])
    banner = banner.replace("&#34;", '"')
    for sentence in said:
        assert sentence.format(folder=pages[status]) in banner
    assert Verdict.load(pages[status] / "validation.json").status == status


def test_every_part_has_its_evidence(read: Callable[[Status], str]) -> None:
    page = words(read("refused"))
    assert "not so in 30 of 92 images (32.6%)" in page
    assert f"{WORST} of 30, the worst first" in page
    assert "2 groups of images that nearly repeat each other" in page
    assert "8 files were put aside into quarantine/ , none deleted" in page
    assert "cannot be decoded (image file is truncated)." in page
    assert "2026-03-02" in page
    assert "an AUC of" in page
    assert page.count("accepted with warnings") == 5
    assert "30.0% now" in page
    assert "abc123" in page and "c0ffee" in page
    for option in FeedSettings.model_fields:
        assert option in page
    assert read("refused").count("<img") == 2 + WORST + SAMPLE + 6  # overlap, dark, at random, duplicates


def test_a_first_feed_without_anything_to_compare_is_shown(tmp_path: Path) -> None:
    profile = make_profile(12)
    nothing = Reference.empty()
    verdict = validate(profile, feed=FEED, settings=FeedSettings(), reference=nothing, folder=tmp_path)
    write_report(tmp_path, profile, verdict, reference=nothing)
    page = words((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "This is the first feed of camera vi-c1." in page
    assert "no accepted images to compare with" in page
    assert "Not drawn: no model, or no accepted images." in page
    assert page.count("no picture") == 12  # the folder has no images


def test_nothing_outside_is_named_or_reachable(read: Callable[[Status], str]) -> None:
    for status in STATUSES:
        page = re.sub(r"base64,[^\"]*", "base64,", read(status))
        assert not re.search(r"https?:|//[a-z]|@import|url\(|<script|<iframe|<link", page, re.IGNORECASE)
        assert all(own.startswith("data:image/jpeg;base64,") for own in re.findall(r'\ssrc="([^"]*)"', page))
        assert all(own.startswith("#") or own == "data-docs/index.html" for own in re.findall(r'href="([^"]*)"', page))
        policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
        assert policy and policy[1].startswith("default-src 'none'; img-src data:;")


def test_names_of_files_are_escaped(tmp_path: Path) -> None:
    profile = make_profile()
    profile.loc[:9, "path"] = [f"{EVIL}{number}.jpg" for number in range(10)]
    profile.loc[:9, "brightness"] = 1.0
    (tmp_path / "quarantine").mkdir()
    reason = {"name": EVIL, "rule": "name", "message": EVIL}
    (tmp_path / "quarantine" / "x.reason.json").write_text(json.dumps(reason))
    verdict = validate(profile, feed=FEED, settings=FeedSettings(), reference=make_reference(), folder=tmp_path)
    write_report(tmp_path, profile, verdict, reference=make_reference())
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 10 + 2  # in the list of names, and in the quarantine
    assert "<script" not in (tmp_path / "data-docs" / "index.html").read_text(encoding="utf-8")


def test_heads_are_blurred_in_every_picture(read: Callable[[Status], str]) -> None:
    image = Image.open(io.BytesIO(draw(3)))
    hidden = np.asarray(without_head(image)).astype(int)
    before = np.asarray(image).astype(int)
    top = round(HEAD * image.height)
    assert (hidden[top:] == before[top:]).all()
    face = before[10:26, 28:36].mean(axis=(0, 1))
    assert np.abs(hidden[:top] - face).sum(axis=2).min() > 40  # its colour is nowhere left
    uri = re.findall(r'src="data:image/jpeg;base64,([^"]*)"', read("refused"))
    assert len(set(uri)) > 20
    for content in uri:
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))).astype(int)
        assert np.abs(shown[: top - 4] - face).sum(axis=2).min() > 40


def test_the_same_feed_gives_the_same_page(tmp_path: Path) -> None:
    profile, known = make_profile(), make_reference()
    verdict = validate(profile, feed=FEED, settings=FeedSettings(), reference=known, folder=tmp_path)
    written = []
    for _ in range(2):
        write_report(tmp_path, profile, verdict, reference=known, history=earlier())
        written.append((tmp_path / "report.html").read_bytes())
    assert written[0] == written[1]


PROBE = """<script>addEventListener("load", () => {
const seen = own => own.checkVisibility({visibilityProperty: true, opacityProperty: true}) && own.offsetHeight > 0;
const parts = [...document.querySelectorAll("h1, main > section, main > section > h2, .verdict-banner, pre")];
const stops = [...document.querySelectorAll("a[href], summary, [tabindex]")].filter(own => own.offsetParent !== null);
const reached = stops.filter(own => { own.focus(); return document.activeElement === own });
const outline = own => { own.focus({focusVisible: true}); return getComputedStyle(own).outlineWidth };
const outlined = reached.filter(own => outline(own) !== "0px");
const requests = performance.getEntriesByType("resource").filter(own => !own.name.startsWith("data:"));
document.title = [parts.length, parts.filter(seen).length, stops.length, reached.length, outlined.length,
  stops[0].className, requests.length].join(" ") })</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("status", STATUSES)
def test_every_part_is_visible_and_reached_by_keyboard_and_nothing_is_requested(
    read: Callable[[Status], str], tmp_path: Path, status: Status
) -> None:
    copy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", read(status)).replace("</body>", PROBE)
    (tmp_path / "page.html").write_text(copy, encoding="utf-8")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=5000", "--dump-dom", (tmp_path / "page.html").as_uri()]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
    found = re.search(r"<title>([^<]*)</title>", answer)
    assert found
    parts, visible, stops, reached, outlined, first, requests = found[1].split()
    assert int(parts) == int(visible) == 2 + 1 + 2 * len(SECTIONS)
    assert int(stops) == int(reached) == int(outlined) >= 1 + 1 + len(SECTIONS)
    assert first == "skip"
    assert requests == "0"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("status", STATUSES)
def test_the_page_fits_the_window_in_chromium(
    read: Callable[[Status], str], tmp_path: Path, status: Status, width: int
) -> None:
    assert measure(read(status), tmp_path, width=width) == f"{width} 0 0 0"
