"""The suite: every check with planted rows, what a verdict is made of, and that our own errors are not the data's."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from profiles import FEED, make_features, make_profile, make_reference

from itkm.config import FeedSettings
from itkm.errors import InputError, ItkmError
from itkm.feeds import measures
from itkm.feeds.feed import Feed
from itkm.feeds.suite import NO_CAMERAS, validate
from itkm.feeds.thresholds import Reference, limit_of
from itkm.feeds.verdict import SHOWN, Check, Verdict

pytest.importorskip("great_expectations")

ROWS = [3, 17, 40, 41, 66, 90, 99]  # of 100: above what is tolerated


def judged(profile: pd.DataFrame, *, feed: Feed | None = FEED, **options: Any) -> Verdict:
    reference = options.pop("reference", make_reference())
    return validate(profile, feed=feed, settings=FeedSettings(**options), reference=reference)


def check_of(verdict: Verdict, name: str) -> Check:
    (found,) = (check for check in verdict.checks if check.name == name)
    return found


def spoiled(column: str, value: Any, rows: list[int] = ROWS) -> pd.DataFrame:
    profile = make_profile()
    profile.loc[rows, column] = value
    return profile


def paths(rows: list[int]) -> set[str]:
    return {f"vi-c1_{row:05d}.jpg" for row in rows}


def test_a_sound_feed_is_accepted() -> None:
    verdict = judged(make_profile())
    assert verdict.status == "accepted"
    assert verdict.exit_code == 0
    assert [check.name for check in verdict.checks if check.passed is False] == []
    assert {check.name for check in verdict.checks if check.passed is None} == {"drift", "aspect_drift"}
    assert sum(check.offender_count for check in verdict.checks) == 0


PLANTED = {
    "decodable": ("critical", "decode_ok", False),
    "width": ("critical", "width", 11),
    "height": ("critical", "height", 31),
    "copies": ("critical", "sha256", "the same"),
    "evaluation_overlap": ("critical", "evaluation_overlap", True),
    "known_camera": ("critical", "camera", "nowhere"),
    "one_camera": ("warning", "camera", "vi-c2"),
    "dark": ("warning", "brightness", 12.0),
    "blurred": ("warning", "laplacian", 1.0),
    "past": ("warning", "timestamp", pd.Timestamp("2027-03-02T06:00Z")),
    "modality": ("warning", "infrared_score", 0.97),
}


EACH = 6  # rows of 100: above what is tolerated


def rows_of(name: str) -> list[int]:
    """Every fault has rows of its own."""
    return [list(PLANTED).index(name) + len(PLANTED) * number for number in range(EACH)]


@pytest.fixture(scope="module")
def with_all_faults() -> Verdict:
    profile = make_profile()
    for name, (_, column, value) in PLANTED.items():
        profile.loc[rows_of(name), column] = value
    return judged(profile)


@pytest.mark.parametrize("name", PLANTED)
def test_a_fault_is_found_in_each_row_and_nowhere_else(with_all_faults: Verdict, name: str) -> None:
    check = check_of(with_all_faults, name)
    assert check.passed is False
    assert check.severity == PLANTED[name][0]
    expected = rows_of(name) + (rows_of("known_camera") if name == "one_camera" else [])
    assert set(check.offenders) == paths(expected)
    assert check.offender_count == len(expected)
    assert check.observed.startswith(f"not so in {len(expected)} of ")
    assert check.message


@pytest.mark.parametrize(("name", "status", "code"), [("dark", "warnings", 3), ("height", "refused", 4)])
def test_the_worst_check_makes_the_verdict(name: str, status: str, code: int) -> None:
    severity, column, value = PLANTED[name]
    verdict = judged(spoiled(column, value))
    assert (verdict.status, verdict.exit_code) == (status, code)
    check = check_of(verdict, name)
    assert check.observed == "not so in 7 of 100 images (7.0%)"
    assert verdict.reason == f"1 {severity} check failed. {check.title}: {check.observed}."


def test_what_is_tolerated_is_told_and_passes() -> None:
    profile = spoiled("brightness", 12.0, ROWS[:5])
    check = check_of(judged(profile), "dark")
    assert check.passed is True
    assert set(check.offenders) == paths(ROWS[:5])
    assert check_of(judged(profile, tolerated=0.04), "dark").passed is False


def test_near_duplicates_within_the_feed_and_of_accepted_images() -> None:
    profile = make_profile()
    profile.loc[:10, "duplicate_group"] = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
    profile.loc[20:31, "known_duplicate"] = "vi-c2_00000.jpg"
    verdict = judged(profile)
    assert set(check_of(verdict, "near_duplicates").offenders) == paths(list(range(11)))
    assert set(check_of(verdict, "already_accepted").offenders) == paths(list(range(20, 32)))
    assert verdict.status == "warnings"
    assert judged(profile, near_duplicates=0.12).status == "accepted"


def test_what_is_dark_does_not_count_as_blurred_or_grey_too() -> None:
    profile = spoiled("brightness", 5.0)
    profile.loc[[*ROWS, 50, 51], "laplacian"] = 1.0
    profile.loc[ROWS, "infrared_score"] = 1.0
    verdict = judged(profile)
    assert set(check_of(verdict, "dark").offenders) == paths(ROWS)
    assert check_of(verdict, "modality").offender_count == 0
    assert set(check_of(verdict, "blurred").offenders) == paths([50, 51])
    assert "2 of 93 images" in check_of(verdict, "blurred").observed


def test_dull_but_sharp_images_are_not_blurred() -> None:
    """The Laplacian alone would mark every image of a camera of low contrast."""
    dull = make_profile(contrast=3.0, laplacian=5.0)
    assert check_of(judged(dull, sharpness={"default": 0.1}), "blurred").passed is True


def test_offenders_come_worst_first() -> None:
    profile = make_profile()
    profile.loc[[5, 6, 7, 8, 9, 10, 11], "brightness"] = [9.0, 3.0, 7.0, 1.0, 5.0, 8.0, 2.0]
    offenders = check_of(judged(profile), "dark").offenders
    assert [int(path[-9:-4]) for path in offenders] == [8, 11, 6, 9, 7, 10, 5]


def test_an_infrared_camera_delivers_grey() -> None:
    feed = Feed("vi-c4", "vi", "infrared", "drop", FEED.claimed_at)
    grey = make_profile(camera="vi-c4", group="infrared", infrared_score=1.0)
    grey.loc[ROWS, "infrared_score"] = 0.2
    check = check_of(judged(grey, feed=feed), "modality")
    assert check.passed is False
    assert {int(path[-9:-4]) for path in check.offenders} == set(ROWS)


@pytest.mark.parametrize(("group", "laplacian", "wrong"), [("low", 4.0, 400.0), ("high", 400.0, 4.0)])
def test_a_camera_shows_the_detail_of_its_group(group: str, laplacian: float, wrong: float) -> None:
    feed = Feed("cr-c1", "cr", group, "drop", FEED.claimed_at)
    profile = make_profile(scenario="cr", group=group, contrast=30.0, laplacian=laplacian)
    assert check_of(judged(profile, feed=feed), "resolution").passed is None  # no limit yet
    limits = {"detail": {"cr": 80.0}, "sharpness": {}}
    assert check_of(judged(profile, feed=feed, **limits), "resolution").passed is True
    profile.loc[ROWS, "laplacian"] = wrong
    check = check_of(judged(profile, feed=feed, **limits), "resolution")
    assert check.passed is False
    assert set(check.offenders) == paths(ROWS)


def test_a_clock_that_was_never_set() -> None:
    check = check_of(judged(spoiled("timestamp", pd.Timestamp("1970-01-01T00:00:05Z"))), "past")
    assert set(check.offenders) == paths(ROWS)


def test_time_runs_forward_within_a_tracklet() -> None:
    profile = make_profile()
    assert check_of(judged(profile), "order").passed is True
    profile.loc[25, "timestamp"] -= pd.Timedelta(minutes=2)
    profile.loc[30, "timestamp"] -= pd.Timedelta(hours=1)  # begins a tracklet: nothing is known of its order
    assert check_of(judged(profile), "order").offenders == ("vi-c1_00025.jpg",)
    assert check_of(judged(make_profile(tracklet=-1)), "order").passed is None


def test_a_file_that_does_not_decode_tells_nothing_of_the_order() -> None:
    """It is listed last, whatever its time; so delivered, it looked like a step back of the clock."""
    profile = make_profile()
    broken = profile.loc[[3]].assign(path="vi-c1_x.jpg", decode_ok=False)
    assert check_of(judged(pd.concat([profile, broken], ignore_index=True)), "order").passed is True


def test_silent_hours_are_told() -> None:
    profile = make_profile()
    profile.loc[99, "timestamp"] += pd.Timedelta(hours=8)
    check = check_of(judged(profile), "coverage")
    assert (check.passed, check.severity, check.observed) == (False, "info", "30%")
    assert judged(profile).status == "accepted"


def test_without_timestamps_nothing_is_said_of_time() -> None:
    verdict = judged(make_profile(timestamp=pd.Series(pd.NaT, index=range(100), dtype="datetime64[us, UTC]")))
    assert {check_of(verdict, name).passed for name in ("past", "order", "coverage")} == {None}
    assert verdict.status == "accepted"


def test_properties_that_drift_are_told() -> None:
    profile = make_profile()
    check = check_of(judged(profile.assign(brightness=profile["brightness"] + 40)), "brightness_drift")
    assert (check.passed, check.severity) == (False, "info")
    assert check_of(judged(profile), "brightness_drift").passed is True


def test_features_drift_only_beyond_what_cameras_differ_by() -> None:
    profile, known = make_profile(), make_reference(features=True)
    for shift, passed in ((0.0, True), (3.0, False)):
        features = make_features(profile["camera"].to_numpy(), shift=shift, seed=9)
        verdict = validate(profile, feed=FEED, settings=FeedSettings(), reference=known, features=features)
        assert check_of(verdict, "drift").passed is passed
        assert verdict.drift is not None
    assert verdict.status == "warnings"
    assert verdict.drift["p"] < 0.05
    assert verdict.drift["auc"] > verdict.drift["baseline_auc"]


def test_drift_is_not_checked_without_a_model_or_cameras() -> None:
    profile, features = make_profile(), make_features(["vi-c1"] * 100)
    assert check_of(judged(profile), "drift").message == "not checked: no model"
    alone = make_reference(features=True)
    one = Reference(alone.profile.iloc[:100], alone.evaluation, features, ("vi-c2",), "visible", "x")
    verdict = validate(profile, feed=FEED, settings=FeedSettings(), reference=one, features=features)
    assert check_of(verdict, "drift").message == f"not checked: {NO_CAMERAS}"


def test_the_first_feed_of_a_scenario_has_nothing_to_be_compared_with() -> None:
    verdict = judged(make_profile(), reference=Reference.empty())
    assert verdict.status == "accepted"
    assert verdict.reference == {"images": 0, "cameras": [], "manifest": ""}
    assert check_of(verdict, "known_camera").passed is True
    assert check_of(verdict, "brightness_drift").passed is None


def test_a_feed_of_nothing_but_rubbish_is_refused() -> None:
    nothing = {"decode_ok": False, "width": -1, "height": -1, "error": "type: html", "sha256": "same"}
    floats = ("brightness", "contrast", "entropy", "laplacian", "chroma", "infrared_score", "aspect")
    verdict = judged(make_profile(**nothing, **dict.fromkeys(floats, np.nan)))
    assert verdict.status == "refused"
    assert [check.name for check in verdict.failed("critical")] == ["decodable"]
    assert verdict.decoded == 0


def test_too_few_images_are_refused() -> None:
    verdict = judged(make_profile(9))
    assert [check.name for check in verdict.failed("critical")] == ["images"]
    assert check_of(verdict, "images").observed == "9 files"


def test_a_profile_of_another_version_is_refused_for_its_columns_alone() -> None:
    verdict = judged(make_profile().drop(columns=["laplacian"]))
    assert [(check.name, check.passed) for check in verdict.checks] == [("schema", False)]
    assert verdict.status == "refused"


def test_a_data_set_is_judged_without_what_only_a_delivery_has() -> None:
    verdict = judged(spoiled("brightness", 5.0), feed=None, reference=Reference.empty())
    names = {check.name for check in verdict.checks}
    assert not names & {"one_camera", "known_camera", "already_accepted", "past", "brightness_drift"}
    assert check_of(verdict, "dark").passed is False
    assert verdict.command == "dvc repro"
    assert (
        verdict.model_dump() == judged(spoiled("brightness", 5.0), feed=None, reference=Reference.empty()).model_dump()
    )


def test_an_expectation_that_raises_is_our_error_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from itkm.feeds import expectations

    monkeypatch.setattr(expectations.ExpectNoEvaluationImages.__fields__["column"], "default", "no_such_column")
    with pytest.raises(
        ItkmError, match=r"the check 'evaluation_overlap' failed .*no_such_column.*: a failure of ours"
    ) as caught:
        judged(make_profile())
    assert caught.value.exit_code == 1


def test_a_measure_that_raises_is_our_error_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(measures.MEASURES, "coverage", lambda profile: 1 / 0)  # type: ignore[arg-type]
    with pytest.raises(ItkmError, match=r"the measure 'coverage' failed \(ZeroDivisionError"):
        judged(make_profile())


def test_without_great_expectations_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'great-expectations>=1\.8,<2'"):
        judged(make_profile())
    assert os.environ["GX_ANALYTICS_ENABLED"] == "false"


def test_many_offenders_are_counted_and_the_worst_listed() -> None:
    profile = make_profile(2 * SHOWN, brightness=np.linspace(0, 10, 2 * SHOWN))
    check = check_of(judged(profile), "dark")
    assert check.offender_count == 2 * SHOWN
    assert check.offenders == tuple(profile["path"][:SHOWN])


def test_data_docs_render_without_a_network(tmp_path: Path) -> None:
    profile = spoiled("brightness", 5.0)
    validate(profile, feed=FEED, settings=FeedSettings(), reference=make_reference(), folder=tmp_path)
    page = (tmp_path / "data-docs" / "index.html").read_text(encoding="utf-8")
    assert "brightness" in page
    assert "Failed" in page
    assert not any(word in page for word in ("http:", "https:", "<script", "<link", "url(", "<img", "onclick"))
    assert "default-src 'none'" in page


def test_the_most_special_limit_counts() -> None:
    limits = {"default": 1.0, "vi": 2.0, "vi/infrared": 3.0}
    assert limit_of(limits, "vi", "infrared") == 3.0
    assert limit_of(limits, "vi", "visible") == 2.0
    assert limit_of(limits, "cc", "outfit-a") == 1.0
    assert limit_of({}, "cc", "outfit-a") is None
