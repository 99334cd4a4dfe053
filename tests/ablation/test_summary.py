"""The summary says what the tables say."""

from __future__ import annotations

import re

import pytest
from made_up_runs import make_finding

from itkm.ablation.findings import Failure, Finding
from itkm.ablation.results import difference_rows, gain_rows
from itkm.ablation.summary import build_summary
from itkm.ablation.variants import VARIANTS, Run


@pytest.fixture(scope="module")
def outcomes() -> list[Finding | Failure]:
    found: list[Finding | Failure] = []
    for seed in (1, 2, 3):
        found.append(make_finding("full", seed, gain=0.1))
        found += [make_finding("single-scenario", seed, gain=0.08, scenarios=[name]) for name in ("vi", "cc")]
        found.append(make_finding("no-chm", seed, gain=0.0))
    return [*found, Failure(Run("no-text", 1, "", {}), "no group has two clusters")]


def line_of(text: str, begins: str) -> list[str]:
    """The cells of the first line of a table that begins so."""
    found = re.search(rf"^\| {re.escape(begins)}.*\|$", text, flags=re.MULTILINE)
    assert found, begins
    return [cell.strip() for cell in found[0].strip("|").split("|")]


def test_numbers_are_those_of_the_tables(outcomes: list[Finding | Failure]) -> None:
    text = build_summary(outcomes, split="test", seeds=[1, 2, 3])
    gain = gain_rows(outcomes).set_index("scenario").loc["vi"]
    cells = line_of(text, "vi ")
    assert cells[1] == f"{100 * gain['zero_shot']:.1f}"
    assert cells[4] == f"{100 * gain['single']:.1f}"
    assert cells[6] == f"{100 * gain['gain']:+.1f} [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}]"
    rows = difference_rows(outcomes).set_index(["variant", "stage", "scenario"])
    row = rows.loc["no-chm", "heterogeneous", "average"]
    shown = f"{100 * row['difference']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
    assert line_of(text, "`no-chm`: no loss")[1:3] == ["3", shown]
    assert line_of(text, "`single-scenario` | 3")[2] == "2.0"


def test_it_says_what_it_is_about(outcomes: list[Finding | Failure]) -> None:
    text = build_summary(outcomes, split="test", seeds=[1, 2, 3])
    assert "`itkm ablate --split test --seeds 1,2,3 --variants full,single-scenario,no-chm,no-text`" in text
    assert "none of them exists" in text
    assert "* no-text, seed 1 failed: no group has two clusters" in text
    assert "Spearman's rank correlation with the final mAP over 9 runs" in text


def test_its_command_names_no_variants_where_all_ran() -> None:
    outcomes = [make_finding(name, 1, gain=0.1) for name in VARIANTS]
    assert "`itkm ablate --split test --seeds 1`" in build_summary(outcomes, split="test", seeds=[1])


def test_without_a_finished_run_there_is_no_table() -> None:
    text = build_summary([Failure(Run("full", 1, "", {}), "why")], split="test", seeds=[1])
    assert "|" not in text
    assert "full, seed 1 failed: why" in text
