from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_runs import make_finding

from browser import CHROMIUM, measure
from itkm.ablation.findings import Failure, Finding
from itkm.ablation.page import build_page
from itkm.ablation.variants import VARIANTS, Run

SEEDS = (1, 2)


@pytest.fixture(scope="module")
def page() -> str:
    """Every variant with two seeds, of which one run failed."""
    outcomes: list[Finding | Failure] = []
    for seed in SEEDS:
        for number, (name, variant) in enumerate(VARIANTS.items()):
            for scenarios in [["vi"], ["cc"]] if variant.alone else [["vi", "cc"]]:
                outcomes.append(make_finding(name, seed, gain=0.1 - 0.01 * number, scenarios=scenarios))
    outcomes.append(Failure(Run("no-chm", 3, "", {}), "<script>alert(1)</script>"))
    return build_page(outcomes, split="validation", seeds=SEEDS, versions={"itkm": "1.2.3"})


def words(page: str) -> str:
    return re.sub(r"<[^>]+>|\s+", " ", re.sub(r"<style>.*</style>", "", page, flags=re.DOTALL))


def test_page_says_what_was_compared_and_how(page: str) -> None:
    text = re.sub(r"\s+", " ", words(page))
    assert "Validation identities" in text
    assert "Seeds 1, 2" in text
    assert "95 %, 2000 resamples of identities" in text
    assert "1 run failed , not in the numbers: no-chm, seed 3 (&lt;script&gt;" in text
    assert all(name in text for name in VARIANTS)
    assert "heterogeneous.dynamic_texts: false" in text
    assert "average 40 identities" in text
    assert "not measured" in text
    assert re.search(r"stability 20 [+-]\d\.\d\d", text)


def test_charts_show_every_variant_over_the_epochs(page: str) -> None:
    titles = re.findall(r"<figcaption>([^<]+)</figcaption>", page)
    assert "Stage I: Purity of the clusters, %" in titles
    assert "Stage III: Precision of matched clusters (CHM), %" in titles
    assert "Stage I: Precision of matched clusters (CHM), %" not in titles
    assert re.search(r"<title [^>]*>Stage III: Purity of the clusters, % over the epochs\. full: from 80 to 100;", page)
    legend = re.search(r'class="legend".*?</ul>', page, re.DOTALL)
    assert legend
    looks = re.findall(r'class="line (c\d d\d)"', legend[0])
    assert len(looks) == len(set(looks)) == len(VARIANTS)


def test_nothing_outside_is_named(page: str) -> None:
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<script|<iframe|<link|<img", page, re.IGNORECASE)


def test_page_of_runs_that_all_failed() -> None:
    page = build_page([Failure(Run("full", 1, "", {}), "why")], split="test", seeds=[1], versions={})
    assert "Nothing to compare" in page
    assert "full, seed 1 (why)" in page


def test_page_without_any_label() -> None:
    """Nothing was scored, and no identity of a training image is known."""
    own = make_finding("full", 1, gain=0.1)
    for found in own.metrics["scenarios"].values():
        found.update(dict.fromkeys(("zero_shot", "zero_shot_centred", "homogeneous", "heterogeneous")))
        found["clusters"] = {group: {"clusters": 9, "outliers": 0.1} for group in ("day", "night")}
    epochs = own.epochs.drop(columns=["purity", "ari", "match_precision"])
    page = build_page([replace(own, queries=own.queries[:0], epochs=epochs)], split="test", seeds=[1], versions={})
    assert "Nothing to compare" in page
    assert "No identity of a training image is known." in page


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("width", [390, 1200])
def test_page_fits_the_window(page: str, width: int, tmp_path: Path) -> None:
    assert measure(page, tmp_path, width=width) == f"{width} 0 0 0"
