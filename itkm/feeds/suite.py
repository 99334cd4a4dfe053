"""The Great Expectations suite of a feed: planned, run, and read back as the checks of a verdict."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from itkm import __version__
from itkm.config import FeedSettings
from itkm.errors import InputError, ItkmError
from itkm.feeds.drift import Drift, measure_drift
from itkm.feeds.feed import Feed
from itkm.feeds.measures import with_measures
from itkm.feeds.profile import COLUMNS
from itkm.feeds.thresholds import Reference
from itkm.feeds.verdict import SEVERITIES, SHOWN, Check, Verdict, next_step, reason_of, status_of

if TYPE_CHECKING:
    from itkm.feeds.plan import Planned

DATA_DOCS = "data-docs"
LIBRARIES = ("great-expectations", "pandas", "pillow", "scikit-learn")
NO_MODEL = "no model"
NO_CAMERAS = "no two accepted cameras, or too few images, to compare features with"


def validate(
    profile: pd.DataFrame,
    *,
    feed: Feed | None,
    settings: FeedSettings,
    reference: Reference,
    features: NDArray[np.float32] | None = None,
    folder: Path | None = None,
) -> Verdict:
    """Judges the images of a feed, or of one group of a whole data set.

    Args:
        profile: one row per file, as `itkm.feeds.profile` makes it.
        feed: who delivered it; None = a data set.
        settings: the limits.
        reference: the accepted data that it is compared with.
        features: [N, D] of the images that decode, in the order of their rows; None without a model.
        folder: of the feed: gets Great Expectations' own pages in `data-docs/`; None = none are written.

    Raises:
        InputError: Great Expectations is not installed.
        ItkmError: a check failed to work, which is never the data's fault.
    """
    require_great_expectations()
    from itkm.feeds.datadocs import write_data_docs
    from itkm.feeds.plan import Context, plan_checks

    frame, drift = measured(profile, reference, features)
    scenario, group = (feed.scenario, feed.group) if feed else (profile["scenario"].iloc[0], profile["group"].iloc[0])
    planned = plan_checks(Context(frame, feed, scenario, group, settings, reference, drift))
    result = run_suite(frame, planned)
    outcomes = {_name(outcome): outcome for outcome in result.results}
    checks = sorted((judge(check, outcomes.get(check.name)) for check in planned), key=_order)
    if folder is not None:
        write_data_docs(result, folder / DATA_DOCS)
    action, command = next_step(checks, feed=feed, folder=folder, cameras=reference.cameras)
    return Verdict(
        status=status_of(checks),
        reason=reason_of(checks),
        next_action=action,
        command=command,
        folder=None if folder is None else str(folder),
        checks=tuple(checks),
        images=len(profile),
        decoded=int(profile["decode_ok"].sum()),
        feed=None if feed is None else asdict(feed),
        reference={"images": len(reference.own), "cameras": list(reference.cameras), "manifest": reference.data},
        drift=None if isinstance(drift, str) else {**asdict(drift), "ratio": drift.ratio},
        thresholds=settings.model_dump(mode="json"),
        versions={"itkm": __version__, **{name: importlib.metadata.version(name) for name in LIBRARIES}},
    )


def require_great_expectations() -> None:
    """Says how to install it where it is missing, and keeps it from reporting its use.

    Raises:
        InputError: it is missing.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    if importlib.util.find_spec("great_expectations") is None:
        raise InputError(
            "great_expectations is not installed, and images are judged by it. Install it with "
            "`pip install 'great-expectations>=1.8,<2'`, or all of the pipeline's tools with `pip install 'itkm[ops]'`."
        )


def measured(
    profile: pd.DataFrame, reference: Reference, features: NDArray[np.float32] | None
) -> tuple[pd.DataFrame, Drift | str]:
    """The profile with all measures beside it, and the drift of its features or why there is none.

    Raises:
        ItkmError: a measure fails.
    """
    if not set(COLUMNS) <= set(profile.columns):
        return profile, NO_MODEL
    frame = with_measures(profile)
    if features is None or reference.features is None:
        return frame, NO_MODEL
    try:
        drift = measure_drift(features, reference.features, reference.own["camera"].to_numpy(dtype=np.str_))
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise ItkmError(f"the check 'drift' failed ({what}): a failure of ours, not of the data.") from error
    return (frame, NO_CAMERAS) if drift is None else (frame.assign(drift=drift.ratio), drift)


def run_suite(frame: pd.DataFrame, planned: Sequence[Planned]) -> Any:
    """Great Expectations' result for all planned checks that are made.

    Raises:
        ItkmError: an expectation raised; the error names it.
    """
    import great_expectations
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)  # it says INFO of itself
    context = great_expectations.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    asset = context.data_sources.add_pandas("feeds").add_dataframe_asset("images")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    suite = great_expectations.ExpectationSuite(
        name="feed", expectations=[check.named() for check in planned if check.expectation is not None]
    )
    result = batch.validate(
        suite, result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["path"]}
    )
    for outcome in result.results:
        if message := _raised(outcome.exception_info):
            name = _name(outcome)
            raise ItkmError(f"the check {name!r} failed ({message}): a failure of ours, not of the data.")
    return result


def judge(planned: Planned, outcome: Any) -> Check:
    """A check with what it met.

    Args:
        planned: the check.
        outcome: Great Expectations' result for it; None where it was not made.
    """
    severity, title, advice = planned.texts
    known = {"name": planned.name, "title": title, "severity": severity}
    if outcome is None:
        return Check(**known, passed=None, message=f"not checked: {planned.limit}")
    offenders = _offenders(planned.expectation, outcome.result.get("unexpected_index_list") or [])
    return Check(
        **known,
        passed=bool(outcome.success),
        observed=_observed(planned, outcome.result),
        limit=planned.limit,
        offender_count=len(offenders),
        offenders=tuple(offenders[:SHOWN]),
        message="" if outcome.success else advice,
    )


def _offenders(expectation: Any, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The images that broke an expectation, the farthest from its limit first where it has one."""
    for side, sign in (("min_value", 1), ("max_value", -1)):
        if isinstance(getattr(expectation, side, None), float | int):
            rows = sorted(rows, key=lambda row: sign * float(row[expectation.column]))
    return [str(row["path"]) for row in rows]


def _observed(planned: Planned, result: Mapping[str, Any]) -> str:
    """What was measured, in words."""
    if planned.observed:
        value = result["observed_value"]
        return planned.observed.format(len(value) if isinstance(value, list) else value)
    count, total = result["unexpected_count"], result["element_count"] - result["missing_count"]
    return f"not so in {count:,} of {total:,} images ({count / total:.1%})" if count else f"so in all {total:,} images"


def _name(outcome: Any) -> str:
    """The check that a result of Great Expectations is of."""
    return str(outcome.expectation_config.meta["check"])


def _raised(info: Mapping[str, Any]) -> str:
    """The message of the first exception of an outcome, '' where there was none; one entry a metric, or one in all."""
    entries = [info] if "raised_exception" in info else list(info.values())
    return next((str(own["exception_message"]) for own in entries if own["raised_exception"]), "")


def _order(check: Check) -> tuple[int, int]:
    """Critical before warning before info; failed before passed before not checked."""
    return SEVERITIES.index(check.severity), [False, True, None].index(check.passed)
