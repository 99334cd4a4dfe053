"""What Prefect shows: right numbers, and nothing that a name of a file could break."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows import artifacts


def scores(value: float) -> dict[str, float]:
    return {"rank1": value, "mAP": value / 2, "mINP": value / 4}


def test_scores_stand_in_percent_a_row_for_each_model() -> None:
    models = {"zero_shot": scores(0.5), "homogeneous": scores(0.75), "heterogeneous": scores(1)}
    text = artifacts.results({"scenarios": {"vi": models}, "average": models})
    assert "| vi | zero-shot | 50.0 | 25.0 | 12.5 |\n| vi | Stage I | 75.0 | 37.5 | 18.8 |" in text
    assert "| average | Stage III | 100.0 | 50.0 | 25.0 |" in text


def test_a_score_that_is_not_known_is_a_dash() -> None:
    unlabelled = dict.fromkeys(artifacts.MODELS)  # as `evaluate` writes it
    text = artifacts.results({"scenarios": {"vi": unlabelled}, "average": unlabelled})
    assert "| vi | Stage I | - | - | - |" in text
    assert "| average | Stage III | - | - | - |" in text


@pytest.mark.parametrize(("promoted", "word"), [(True, "promoted"), (False, "refused")])
def test_a_decision_tells_its_reasons(promoted: bool, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    decision = {"promoted": promoted, "version": "7", "champion": "7", "previous": None, "reasons": ["One.", "Two."]}
    text = artifacts.decided({**decision, "scores": {"vi": {"candidate": 0.5, "champion": None}}})
    assert text.startswith(f"## Version [7](http://127.0.0.1:5000/#/models/itkm/versions/7) was {word}\n")
    assert "* One.\n* Two.\n" in text
    assert "| vi | - | 50.0 |" in text


def check(**other: Any) -> dict[str, Any]:
    plain = {"severity": "warning", "title": "Sharp", "passed": False, "observed": "3 %", "limit": "2 %"}
    return {**plain, "offender_count": 5, "offenders": [f"{number}.jpg" for number in range(5)], **other}


def verdict(*checks: dict[str, Any]) -> str:
    said = {"status": "warnings", "reason": "Blurred.", "next_action": "Clean the lens."}
    return artifacts.judged({**said, "checks": list(checks)})


def test_a_verdict_names_what_did_not_pass_and_a_few_files() -> None:
    text = verdict(check(), check(title="Dark", passed=True), check(title="Drift", passed=None, offenders=[]))
    assert "| warning | Sharp | failed | 3 % | 2 % | 5 | 0.jpg, 1.jpg, 2.jpg |" in text
    assert "| Drift | not made |" in text
    assert "Dark" not in text
    assert "**Next:** Clean the lens." in text
    assert "Every check passed." in verdict()


def test_a_name_from_a_feed_cannot_leave_its_cell() -> None:
    text = verdict(check(offenders=["a|b.jpg", "<img src=x>", "[x](http://x)\nnew line"]))
    assert r"a\|b.jpg, \<img src=x\>, \[x\](http://x) new line |" in text


def test_a_report_is_a_link_where_reports_are_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "reports" / "a b.html"
    assert artifacts._link("Report", file) == f"Report: `{file}`"
    monkeypatch.setenv("ITKM_REPORTS_URL", "http://127.0.0.1:8081/")
    assert artifacts._link("Report", file) == "[Report](http://127.0.0.1:8081/reports/a%20b.html)"
    assert artifacts._link("Report", Path("/elsewhere/b.html")) == "Report: `/elsewhere/b.html`"


def test_a_server_that_takes_no_artifact_fails_no_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise httpx.ReadTimeout("no answer")

    monkeypatch.setattr(artifacts, "create_markdown_artifact", refuse)
    monkeypatch.setattr(artifacts, "get_run_logger", lambda: logging.getLogger("run"))
    artifacts.publish_decision({"promoted": True, "version": "7", "reasons": ["One."]})
    assert "no answer" in caplog.text and "Version 7 was promoted" in caplog.text
