"""The gate before training: every convention of the data is checked, every image decoded."""

from __future__ import annotations

import logging
from dataclasses import asdict

from itkm.config import Settings
from itkm.data.check import Finding, check_dataset
from itkm.errors import InputError
from itkm.files import write_json
from itkm.stages.layout import Layout

SHOWN = 10  # findings of an error message; the report holds them all

logger = logging.getLogger(__name__)


def run(settings: Settings, layout: Layout, scenario: str) -> None:
    """Writes `reports/validation/<scenario>.json`.

    Raises:
        InputError: a finding is an error, so that nothing may be trained on these data.
    """
    findings = check_dataset(layout.data(scenario))
    errors = [finding for finding in findings if finding.severity == "error"]
    report = layout.validation(scenario)
    write_json(
        report,
        {"scenario": scenario, "accepted": not errors, "findings": [asdict(finding) for finding in findings]},
    )
    for finding in findings:
        if finding.severity == "warning":
            logger.warning("%s: %s", layout.data(scenario), describe(finding))
    if errors:
        lines = [f"{layout.data(scenario)}: {describe(finding)}" for finding in errors[:SHOWN]]
        end = f"Nothing is trained on data with errors ({len(errors)} here). All findings: {report}."
        raise InputError("\n".join([*lines, end]))
    logger.info("validate %s: accepted, %d warnings", scenario, len(findings))


def describe(finding: Finding) -> str:
    """A finding with the rows that it names, in one line."""
    rows = f" Rows: {', '.join(finding.rows)}." if finding.rows else ""
    return f"[{finding.rule}] {finding.message}{rows}"
