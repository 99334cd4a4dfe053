"""Limits from accepted data: read off their worst camera, and printed as the lines that they replace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from profiles import make_profile

from itkm.config import FeedSettings, read_settings
from itkm.feeds.calibrate import as_lines, calibrate
from itkm.feeds.measures import detail, sharpness

PARAMS = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def profiles() -> dict[str, pd.DataFrame]:
    dull = make_profile(camera="c2", seed=1)
    dull["brightness"] /= 2
    low = make_profile(camera="c9", seed=2, scenario="cr", group="low", laplacian=8.0)
    high = make_profile(camera="c8", seed=3, scenario="cr", group="high")
    return {"vi": pd.concat([make_profile(camera="c1"), dull]), "cr": pd.concat([low, high])}


def test_limits_are_those_of_the_worst_camera(profiles: dict[str, pd.DataFrame]) -> None:
    found = calibrate(profiles)
    dull = profiles["vi"].query("camera == 'c2'")
    assert found["brightness"]["vi/visible"] == float(f"{0.5 * np.quantile(dull['brightness'], 0.01):.2g}")
    worst = min(np.quantile(sharpness(rows), 0.01) for _, rows in profiles["vi"].groupby("camera"))
    assert found["sharpness"]["vi/visible"] == float(f"{0.25 * worst:.2g}")
    assert set(found["brightness"]) == {"vi/visible", "cr/low", "cr/high"}


def test_low_and_high_resolution_part_between_them(profiles: dict[str, pd.DataFrame]) -> None:
    found = calibrate(profiles)["detail"]
    assert set(found) == {"cr"}
    by_group = detail(profiles["cr"]).groupby(profiles["cr"]["group"])
    assert by_group.get_group("low").max() < found["cr"] < by_group.get_group("high").min()


def test_the_lines_can_be_put_into_params_yaml(profiles: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    lines = as_lines(calibrate(profiles), FeedSettings(brightness={"default": 7.0, "old/group": 1.0}))
    assert yaml.safe_load(f"feeds:\n{lines}")["feeds"].keys() == {"brightness", "sharpness", "detail"}
    replaced = ("brightness", "sharpness", "detail")
    kept = [line for line in PARAMS.read_text().splitlines() if line.split(":")[0].strip() not in replaced]
    (tmp_path / "params.yaml").write_text("\n".join(kept).replace("\nfeeds:\n", f"\nfeeds:\n{lines}\n"))
    limits = read_settings(tmp_path / "params.yaml").feeds.brightness
    assert limits["default"] == 7.0
    assert set(limits) == {"default", "vi/visible", "cr/low", "cr/high"}


def test_the_measures_are_what_their_names_say() -> None:
    frame = make_profile(3, contrast=10.0, laplacian=[50.5, 101.0, 0.0], height=[128, 64, 128])
    np.testing.assert_allclose(sharpness(frame), [0.5, 1.0, 0.0])
    np.testing.assert_allclose(detail(frame), [128, 64 * 2**0.25, 0])
