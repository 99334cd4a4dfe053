"""Divergence from the accepted images: the definition, and the number that Great Expectations finds."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from profiles import FEED, make_profile, make_reference

from itkm.config import FeedSettings
from itkm.feeds.histograms import TAIL, Histogram, camera_divergence
from itkm.feeds.suite import validate


def naive(values: list[float], edges: tuple[float, ...], weights: tuple[float, ...]) -> float:
    """Sum of p log(p / q) over the bins and both tails; the last bin holds its right edge."""
    shares = []
    for number, (low, high) in enumerate(pairwise(edges)):
        last = number == len(edges) - 2
        shares.append(sum(low <= value < high or (last and value == high) for value in values) / len(values))
    shares += [sum(value < edges[0] for value in values) / len(values)]
    shares += [sum(value > edges[-1] for value in values) / len(values)]
    return sum(p * math.log(p / q) for p, q in zip(shares, (*weights, TAIL, TAIL), strict=True) if p)


def test_the_divergence_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    histogram = Histogram.of(rng.normal(0, 1, 500))
    assert histogram is not None
    assert sum(histogram.weights) + 2 * TAIL == pytest.approx(1)
    for values in (rng.normal(0, 1, 300), rng.normal(1, 2, 300), np.array([-9.0, 9.0, histogram.edges[-1]])):
        assert histogram.divergence(values) == pytest.approx(naive(values.tolist(), histogram.edges, histogram.weights))
    assert histogram.divergence(rng.normal(0, 1, 5000)) < 0.05 < 0.5 < histogram.divergence(rng.normal(2, 1, 500))


def test_values_without_a_spread_have_no_histogram() -> None:
    assert Histogram.of(np.full(100, 2.0)) is None
    assert Histogram.of(np.arange(5.0)) is None


def test_great_expectations_finds_the_same_number() -> None:
    profile, known = make_profile(), make_reference()
    profile["brightness"] += 7
    histogram = Histogram.of(known.own["brightness"].to_numpy())
    assert histogram is not None
    verdict = validate(profile, feed=FEED, settings=FeedSettings(), reference=known)
    (check,) = (check for check in verdict.checks if check.name == "brightness_drift")
    assert check.observed == f"divergence {histogram.divergence(profile['brightness'].to_numpy()):.2f}"


def test_cameras_are_compared_with_the_others() -> None:
    frame = pd.concat([make_profile(camera=name, seed=n) for n, name in enumerate("abc")], ignore_index=True)
    frame.loc[frame["camera"] == "b", "brightness"] += 15
    found = []
    for name in "abc":
        others = Histogram.of(frame.loc[frame["camera"] != name, "brightness"].to_numpy())
        assert others is not None
        found.append(others.divergence(frame.loc[frame["camera"] == name, "brightness"].to_numpy()))
    assert camera_divergence(frame, "brightness") == max(found) == found[1]
    assert camera_divergence(frame[frame["camera"] == "a"], "brightness") is None
