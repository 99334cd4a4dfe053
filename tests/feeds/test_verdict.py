"""`validation.json`: written, read, its schema published, and what to do next."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from profiles import FEED, make_profile, make_reference

from itkm.config import FeedSettings
from itkm.errors import InputError
from itkm.feeds.suite import validate
from itkm.feeds.thresholds import Reference
from itkm.feeds.verdict import Check, Severity, Verdict, next_step, reason_of, status_of

SCHEMA = Path(__file__).parents[2] / "docs" / "validation.schema.json"


def check(severity: Severity, passed: bool | None, *, name: str = "any") -> Check:
    return Check(name=name, title=f"All is {name}", severity=severity, passed=passed, observed="seen", message="Do it.")


@pytest.mark.parametrize(
    ("checks", "status"),
    [
        ([], "accepted"),
        ([check("critical", True), check("warning", None), check("info", False)], "accepted"),
        ([check("critical", None), check("warning", False), check("info", False)], "warnings"),
        ([check("critical", False), check("warning", False)], "refused"),
    ],
)
def test_the_worst_failure_decides(checks: list[Check], status: str) -> None:
    assert status_of(checks) == status


def test_the_reason_names_what_failed() -> None:
    failed = [check("critical", False, name="large"), check("critical", False, name="whole"), check("warning", False)]
    assert reason_of(failed) == "2 critical checks failed. All is large: seen; All is whole: seen."
    assert reason_of([check("warning", False, name="bright")]) == "1 warning check failed. All is bright: seen."
    assert reason_of([check("critical", True), check("warning", None)]) == "1 checks passed, 1 could not be made."


def test_the_next_command_can_be_typed() -> None:
    step = partial(next_step, feed=FEED, folder=Path("feeds/gate 3"), cameras=("vi-c1",))
    assert step([])[1] == "itkm feed accept 'feeds/gate 3'"
    assert step([check("warning", False)])[1] == "itkm feed accept 'feeds/gate 3'"
    action, command = step([check("critical", False)])
    assert action.startswith("Do it. ")
    assert command == (
        "itkm feed validate drops/monday --camera vi-c1 --scenario vi --group visible --out 'feeds/gate 3-again'"
    )
    assert step([check("critical", False)], cameras=("vi-c2",))[1] == f"{command} --new-camera"
    film = replace(FEED, boxes="boxes of a film.csv")
    assert step([check("critical", False)], feed=film)[1] == f"{command} --boxes 'boxes of a film.csv'"
    assert next_step([], feed=None, folder=None, cameras=())[1] == "dvc repro"


def test_what_was_written_is_read(tmp_path: Path) -> None:
    verdict = validate(make_profile(), feed=FEED, settings=FeedSettings(), reference=make_reference())
    verdict.save(tmp_path / "validation.json")
    assert Verdict.load(tmp_path / "validation.json") == verdict
    plain = json.loads((tmp_path / "validation.json").read_text())
    assert plain["feed"]["content"] == "c0ffee"
    assert plain["thresholds"]["min_height"] == 32
    assert plain["reference"] == {"images": 200, "cameras": ["vi-c2", "vi-c3"], "manifest": "abc123"}
    assert set(plain["versions"]) == {"itkm", "great-expectations", "pandas", "pillow", "scikit-learn"}


def test_what_is_no_verdict_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Run `itkm feed validate` first"):
        Verdict.load(tmp_path / "validation.json")
    (tmp_path / "validation.json").write_text('{"status": "fine"}')
    with pytest.raises(InputError, match="not a verdict"):
        Verdict.load(tmp_path / "validation.json")


def test_the_same_feed_gives_the_same_verdict() -> None:
    first, second = (
        validate(make_profile(), feed=FEED, settings=FeedSettings(), reference=Reference.empty()) for _ in range(2)
    )
    assert first == second


def test_the_published_schema_is_that_of_the_model() -> None:
    """Where it is not: `python -c "..."` as below writes it again."""
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == Verdict.model_json_schema()
