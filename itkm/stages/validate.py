"""The gate before training: conventions checked, every image decoded, training images judged as those of a feed."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

from itkm.config import Settings
from itkm.data.check import Finding, check_dataset
from itkm.errors import InputError
from itkm.feeds.accepted import profile_scenario
from itkm.feeds.suite import require_great_expectations
from itkm.feeds.suite import validate as judge
from itkm.feeds.thresholds import Reference
from itkm.feeds.verdict import Check
from itkm.files import write_json
from itkm.stages.layout import Layout

SHOWN = 10  # findings of an error message, and images of a failed check; the report holds them all

logger = logging.getLogger(__name__)


def run(settings: Settings, layout: Layout, scenario: str) -> None:
    """Writes `reports/validation/<scenario>.json`.

    Raises:
        InputError: a finding is an error, or a critical check of a group failed: nothing may be trained on these data.
    """
    require_great_expectations()
    findings = check_dataset(layout.data(scenario))
    broken = any(finding.severity == "error" for finding in findings)
    groups = {} if broken else judge_groups(settings, layout, scenario)
    failed = [(group, check) for group, checks in groups.items() for check in checks if check.passed is False]
    errors = [describe(finding) for finding in findings if finding.severity == "error"]
    errors += [describe_check(group, check) for group, check in failed if check.severity == "critical"]
    warnings = [describe(finding) for finding in findings if finding.severity == "warning"]
    warnings += [describe_check(group, check) for group, check in failed if check.severity == "warning"]
    report: dict[str, Any] = {
        "scenario": scenario,
        "accepted": not errors,
        "findings": [asdict(finding) for finding in findings],
        "checks": {group: [check.model_dump(mode="json") for check in checks] for group, checks in groups.items()},
    }
    write_json(layout.validation(scenario), report)
    for line in warnings:
        logger.warning("%s: %s", layout.data(scenario), line)
    if errors:
        lines = [f"{layout.data(scenario)}: {line}" for line in errors[:SHOWN]]
        where = f"All findings: {layout.validation(scenario)}. Limits of single images: params.yaml, section `feeds`."
        raise InputError("\n".join([*lines, f"Nothing is trained on data with errors ({len(errors)} here). {where}"]))
    logger.info("validate %s: accepted, %d warnings", scenario, len(warnings))


def judge_groups(settings: Settings, layout: Layout, scenario: str) -> dict[str, tuple[Check, ...]]:
    """The checks of each group's training images: the suite of `itkm feed validate`, but for what only a delivery has.

    Images by which models are judged stay as their makers published them, copies and all.

    Raises:
        ItkmError: a check failed to work.
    """
    profile = profile_scenario(layout.data(scenario))
    return {
        str(group): judge(rows, feed=None, settings=settings.feeds, reference=Reference.empty()).checks
        for group, rows in profile[profile["split"] == "train"].groupby("group")
    }


def describe(finding: Finding) -> str:
    """A finding with the rows that it names, in one line."""
    rows = f" Rows: {', '.join(finding.rows)}." if finding.rows else ""
    return f"[{finding.rule}] {finding.message}{rows}"


def describe_check(group: str, check: Check) -> str:
    """A failed check with the worst images, in one line."""
    images = f" Images: {', '.join(check.offenders[:SHOWN])}." if check.offenders else ""
    return f"[{check.name}] group {group}: {check.title}: {check.observed}; {check.limit}. {check.message}{images}"
