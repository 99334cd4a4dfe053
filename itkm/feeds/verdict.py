"""`validation.json`: what was decided about a feed, by which evidence, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from itkm.errors import InputError
from itkm.feeds.feed import Feed
from itkm.files import write_bytes

Severity = Literal["critical", "warning", "info"]
Status = Literal["accepted", "warnings", "refused"]
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
EXIT_CODES: dict[Status, int] = {"accepted": 0, "warnings": 3, "refused": 4}
SHOWN = 200  # offenders of a check that are listed by name


class Check(BaseModel):
    """One expectation and what it met."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="short name, the same in every version")
    title: str = Field(description="what is expected, in words")
    severity: Severity = Field(description="critical refuses the feed, warning asks for a look, info is told")
    passed: bool | None = Field(description="null: not checked, `message` says why")
    observed: str = Field(default="", description="what was measured; '' where it was not checked, as the next three")
    limit: str = Field(default="", description="what was allowed")
    offender_count: int = Field(default=0, ge=0, description="images that broke the expectation")
    offenders: tuple[str, ...] = Field(default=(), description=f"the worst {SHOWN} of them, by their path in the feed")
    message: str = Field(description="what to do about it; '' where it passed")


class Verdict(BaseModel):
    """The whole of `validation.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Status = Field(description="refused: a critical check failed; warnings: another than an info failed")
    reason: str = Field(description="why, in one sentence")
    next_action: str = Field(description="what to do, in one sentence")
    command: str = Field(description="the command to type next")
    folder: str | None = Field(description="the feed's, as typed; null: a whole data set")
    checks: tuple[Check, ...] = Field(description="critical ones first; failed ones first among equals")
    images: int = Field(ge=0, description="files of the feed")
    decoded: int = Field(ge=0, description="those of them that are images")
    feed: dict[str, Any] | None = Field(description="feed.json: who delivered what and when; null: a whole data set")
    reference: dict[str, Any] = Field(
        description="what it was compared with: number of accepted images, cameras, SHA-256 of their manifest"
    )
    drift: dict[str, float] | None = Field(
        description="of the features: auc and mmd against accepted images, their largest values between accepted "
        "cameras (baseline_auc, baseline_mmd), permutation p, and ratio, the check's value; null: not measured"
    )
    thresholds: dict[str, Any] = Field(description="section `feeds` of params.yaml")
    versions: dict[str, str] = Field(description="of itkm and of what decided")

    @property
    def exit_code(self) -> int:
        """What `itkm feed validate` ends with: 0 accepted, 3 with warnings, 4 refused."""
        return EXIT_CODES[self.status]

    def failed(self, severity: Severity) -> list[Check]:
        """The failed checks of a severity."""
        return [check for check in self.checks if check.severity == severity and check.passed is False]

    def save(self, path: Path) -> None:
        """Writes `validation.json` atomically.

        Raises:
            InputError: the folder cannot be written.
        """
        write_bytes(path, (self.model_dump_json(indent=2) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads `validation.json`.

        Raises:
            InputError: no such file, or not one that `itkm feed validate` wrote.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise InputError(f"{path}: not found. Run `itkm feed validate` first, with --out {path.parent}.") from error
        except ValidationError as error:
            count = error.error_count()
            raise InputError(f"{path}: not a verdict ({count} faults). Validate the feed again.") from error


def status_of(checks: Iterable[Check]) -> Status:
    """The verdict that checks give together."""
    failed = {check.severity for check in checks if check.passed is False}
    return "refused" if "critical" in failed else "warnings" if "warning" in failed else "accepted"


def reason_of(checks: Sequence[Check]) -> str:
    """Why, in one sentence: what failed."""
    status = status_of(checks)
    worst: Severity = "critical" if status == "refused" else "warning"
    failed = [check for check in checks if check.severity == worst and check.passed is False]
    if not failed:
        passed, unchecked = (sum(check.passed is wanted for check in checks) for wanted in (True, None))
        return f"{passed} checks passed" + (f", {unchecked} could not be made." if unchecked else ".")
    what = "; ".join(f"{check.title}: {check.observed}" for check in failed)
    return f"{len(failed)} {worst} {'check' if len(failed) == 1 else 'checks'} failed. {what}."


def next_step(
    checks: Sequence[Check], *, feed: Feed | None, folder: Path | None, cameras: Sequence[str]
) -> tuple[str, str]:
    """What to do next, in one sentence, and the command to type for it.

    Args:
        checks: all of them.
        feed: None = a data set.
        folder: of the feed.
        cameras: those of the accepted data.
    """
    status = status_of(checks)
    if feed is None or folder is None:
        return ("Train on the data." if status != "refused" else "Correct the data, then run it again.", "dvc repro")
    accept = f"itkm feed accept {shlex.quote(str(folder))}"
    if status == "accepted":
        return "Add the images to the versioned data.", accept
    if status == "warnings":
        return "Look at what failed. If you want these images, add them to the versioned data.", accept
    again = folder.with_name(f"{folder.name}-again")  # a feed folder holds one delivery, whatever becomes of it
    advice = next(check.message for check in checks if check.severity == "critical" and check.passed is False)
    declared = {"camera": feed.camera, "scenario": feed.scenario, "group": feed.group, "out": str(again)}
    options = [f"--{name} {shlex.quote(value)}" for name, value in declared.items()]
    options += [f"--boxes {shlex.quote(feed.boxes)}"] if feed.boxes else []
    options += [] if feed.camera in cameras else ["--new-camera"]
    command = " ".join(["itkm feed validate", shlex.quote(feed.source), *options])
    return f"{advice} Then validate what is delivered anew.", command
