from __future__ import annotations

import math
import re

from hypothesis import given
from hypothesis import strategies as st

from itkm.config import Settings
from itkm.report.curves import BOTTOM, LEFT, RIGHT, TOP, nice_marks, stage_charts
from itkm.report.history import read_history
from itkm.stages.layout import Layout

GROUPS = (("vi", "visible"), ("vi", "infrared"))


def rows(losses: list[float]) -> list[dict[str, str | float]]:
    return [
        {"epoch": float(epoch), "scenario": scenario, "group": group, "loss": loss, "clusters": 10.0 + place}
        for epoch, loss in enumerate(losses, 1)
        for place, (scenario, group) in enumerate(GROUPS)
    ]


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]


def test_a_loss_shared_by_all_groups_is_drawn_once() -> None:
    loss, clusters = stage_charts("homogeneous", rows([4.0, 2.0, 1.0]))
    assert (loss.title, len(loss.lines)) == ("Loss", 1)
    (x0, y0), (_, y1), (x2, y2) = points(loss.lines[0].path)
    assert (x0, x2) == (LEFT, RIGHT)
    assert TOP <= y0 < y1 < y2 <= BOTTOM
    assert math.isclose(y1 - y0, 2 * (y2 - y1), abs_tol=0.3)
    assert "from 4 to 1" in loss.summary
    assert [(line.name, line.colour, line.dash) for line in clusters.lines] == [
        ("vi/visible", 0, 0),
        ("vi/infrared", 0, 1),
    ]


def test_what_was_not_measured_is_left_out() -> None:
    loss = stage_charts("homogeneous", rows([4.0, math.nan, 1.0]))[0]
    assert len(points(loss.lines[0].path)) == 2
    assert [chart.title for chart in stage_charts("homogeneous", rows([math.nan]))] == ["Clusters"]


def test_one_epoch_and_no_epoch() -> None:
    assert points(stage_charts("homogeneous", rows([4.0]))[0].lines[0].path)[0][0] == LEFT
    assert stage_charts("homogeneous", []) == []


def test_every_stage_has_its_charts(project: tuple[Settings, Layout]) -> None:
    layout = project[1]
    titles = {
        stage: [chart.title for chart in stage_charts(stage, read_history(folder / "history.csv"))]
        for stage, folder in (("prompts", layout.prompts), ("heterogeneous", layout.heterogeneous))
    }
    assert titles["prompts"] == ["Loss", "Mean cosine between scenarios"]
    assert len(titles["heterogeneous"]) == 5


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_marks_enclose_and_are_few(first: float, second: float) -> None:
    low, high = sorted((round(first, 3), round(second, 3)))
    marks = nice_marks(low, high)
    slack = 1e-6 * max(1, abs(low), abs(high))
    assert marks[0] <= low + slack
    assert marks[-1] >= high - slack
    assert 2 <= len(marks) <= 7
