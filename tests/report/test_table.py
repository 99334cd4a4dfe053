from __future__ import annotations

import json

import pytest

from itkm.config import Settings
from itkm.report.table import MODELS, result_rows, result_table
from itkm.stages.layout import Layout


@pytest.fixture
def metrics(project: tuple[Settings, Layout]) -> dict[str, dict]:
    return json.loads(project[1].metrics.read_text())


def test_columns_are_aligned_and_name_the_protocol(metrics: dict[str, dict]) -> None:
    lines = result_table(metrics).splitlines()
    header = next(line for line in lines if line.startswith("scenario"))
    ends = {line.index("mAP  ") for line in lines if line.startswith("scenario")}
    rows = [line for line in lines if any(f"  {model}  " in line for model in MODELS.values())]
    assert len(rows) == 16
    assert all(row[position + 2].isdigit() and row[position + 3] == " " for row in rows for position in ends)
    assert [row.split()[1] for row in rows if row.startswith(("vi", "cc", "cr"))] == ["cross-group"] * 3
    assert max(map(len, rows)) <= len(header)


def test_gain_is_against_zero_shot(metrics: dict[str, dict]) -> None:
    rows = {(row.scenario, row.model): row for row in result_rows(metrics)}
    assert rows["vi", "zero_shot"].gain is None
    assert rows["vi", "heterogeneous"].gain == pytest.approx(0.24)
    assert rows["average", "homogeneous"].gain == pytest.approx(0.08)


def test_a_loss_is_shown_as_a_loss(metrics: dict[str, dict]) -> None:
    metrics["scenarios"]["vi"]["heterogeneous"]["mAP"] = metrics["scenarios"]["vi"]["zero_shot"]["mAP"] - 0.031
    assert "-3.1" in result_table(metrics)


def test_rendered_persons_are_named_as_such(metrics: dict[str, dict]) -> None:
    assert "rendered" in result_table(metrics)
    assert "rendered" not in result_table({**metrics, "rendered": False})
    assert "validation identities" in result_table({**metrics, "split": "validation"})


def test_what_was_not_scored_is_a_dash(metrics: dict[str, dict]) -> None:
    metrics["scenarios"] = {"own": dict.fromkeys(MODELS)}
    metrics["average"] = dict.fromkeys(MODELS)
    row = next(line for line in result_table(metrics).splitlines() if line.startswith("own"))
    assert row.split() == ["own", "-", "-", "-", "zero-shot", "-", "-", "-", "-"]
