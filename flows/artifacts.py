"""What a flow shows in Prefect: tables and decisions as markdown, with links; no image of a person."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact

from itkm.errors import without_password

MODELS = {"zero_shot": "zero-shot", "homogeneous": "Stage I", "heterogeneous": "Stage III"}
SCORES = ("rank1", "mAP", "mINP")
OFFENDERS = 3  # files named for a check


def publish_results(root: Path) -> None:
    """The result table of a training run, where the project has one."""
    metrics = root / "reports" / "metrics.json"
    if metrics.is_file():
        text = results(json.loads(metrics.read_text(encoding="utf-8")))
        _show(f"{text}\n\n{_link('Report', root / 'reports' / 'report.html')}", key="results")


def results(metrics: Mapping[str, Any]) -> str:
    """The scores of `reports/metrics.json` in percent, a row for each scenario and model."""
    rows = []
    for scenario, scored in [*metrics.get("scenarios", {}).items(), ("average", metrics.get("average", {}))]:
        for key, name in MODELS.items():
            values = scored.get(key) or {}  # null where nobody is labelled
            rows.append([scenario, name, *(_percent(values.get(score)) for score in SCORES)])
    return f"## Results\n\n{_table(['scenario', 'model', 'rank-1', 'mAP', 'mINP'], rows)}\n\nIn percent."


def publish_decision(decision: Mapping[str, Any]) -> None:
    """A decision on a promotion, with its reasons."""
    _show(decided(decision), key="promotion")


def decided(decision: Mapping[str, Any]) -> str:
    """What `itkm model promote --json` printed."""
    word = "promoted" if decision["promoted"] else "refused"
    reasons = "\n".join(f"* {reason}" for reason in decision["reasons"])
    rows = [
        [scenario, _percent(values.get("champion")), _percent(values.get("candidate"))]
        for scenario, values in decision.get("scores", {}).items()
    ]
    table = _table(["scenario", "champion before", "candidate"], rows)
    version = _version(decision["version"])
    return f"## Version {version} was {word}\n\n{reasons}\n\n{table}\n\n{decision.get('metric', 'mAP')} in percent."


def publish_rollback(decision: Mapping[str, Any]) -> None:
    """A return to the previous champion."""
    reasons = "\n".join(f"* {reason}" for reason in decision["reasons"])
    _show(f"## Rolled back to version {_version(decision['champion'])}\n\n{reasons}", key="promotion")


class Verdict(NamedTuple):
    """What a feed's validation.json says in short."""

    status: str
    reason: str


def publish_verdict(folder: Path) -> Verdict:
    """Shows the verdict on a feed, whose folder `itkm feed validate` wrote."""
    verdict = json.loads((folder / "validation.json").read_text(encoding="utf-8"))
    _show(f"{judged(verdict)}\n\n{_link('Report', folder / 'report.html')}", key="feed")
    return Verdict(verdict["status"], verdict["reason"])


def judged(verdict: Mapping[str, Any]) -> str:
    """A `validation.json` with the checks that did not pass, in its order: the worst first."""
    left = [check for check in verdict["checks"] if check["passed"] is not True]
    header = ("severity", "check", "", "observed", "limit", "files", "for instance")
    rows = [
        [
            *(check["severity"], check["title"], "failed" if check["passed"] is False else "not made"),
            *(check["observed"], check["limit"], check["offender_count"], ", ".join(check["offenders"][:OFFENDERS])),
        ]
        for check in left
    ]
    table = _table(header, rows) if rows else "Every check passed."
    return f"## Feed: {verdict['status']}\n\n{verdict['reason']}\n\n**Next:** {verdict['next_action']}\n\n{table}"


def _show(text: str, *, key: str) -> None:
    """Shows a text in Prefect. What it tells of is done: a server that cannot keep it fails no run."""
    try:
        create_markdown_artifact(text, key=key)
    except httpx.HTTPError as error:
        get_run_logger().warning("%s is not shown in Prefect, whose server did not take it: %r\n%s", key, error, text)


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(value: object) -> str:
    """A value that cannot break out of its cell: names of files come from a feed."""
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return re.sub(r"\s+", " ", re.sub(r"([\\|<>`\[\]])", r"\\\1", text))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _version(version: str) -> str:
    """A version, with a link to its page where MLflow is served."""
    address = without_password(os.environ.get("MLFLOW_TRACKING_URI", ""))
    return f"[{version}]({address}/#/models/itkm/versions/{version})" if address.startswith("http") else version


def _link(title: str, file: Path) -> str:
    """A file below `ITKM_REPORTS_URL`, where the folder that the flow runs in is served; else its place on the disk."""
    address = os.environ.get("ITKM_REPORTS_URL", "").rstrip("/")
    if address and file.resolve().is_relative_to(Path.cwd()):
        return f"[{title}]({address}/{quote(file.resolve().relative_to(Path.cwd()).as_posix())})"
    return f"{title}: `{file.resolve()}`"
