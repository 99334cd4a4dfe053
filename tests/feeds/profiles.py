"""Profiles of feeds that do not exist: sound rows, of which a test spoils some."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from itkm.feeds.feed import Feed
from itkm.feeds.profile import frame_of
from itkm.feeds.thresholds import Reference

FEED = Feed("vi-c1", "vi", "visible", "drops/monday", "2026-03-03T08:00:00Z", content="c0ffee")


def make_profile(count: int = 100, *, camera: str = "vi-c1", seed: int = 0, **columns: Any) -> pd.DataFrame:
    """Rows of sound images of one camera, one a minute, ten a tracklet; `brightness=...` sets a column."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "path": f"{camera}_{number:05d}.jpg",
            "sha256": f"{camera}-{seed}-{number}",
            "bytes": 2000 + number,
            "decode_ok": True,
            "error": "",
            "width": 64,
            "height": 128,
            "aspect": 2.0,
            "mode": "RGB",
            "brightness": rng.normal(120, 10),
            "brightness_p1": 40.0,
            "brightness_p99": 200.0,
            "contrast": rng.normal(30, 3),
            "entropy": rng.normal(6, 0.2),
            "laplacian": rng.normal(450, 40),
            "chroma": rng.normal(10, 2),
            "infrared_score": rng.uniform(0, 0.4),
            "phash": f"{rng.integers(2**63):016x}",
            "camera": camera,
            "timestamp": pd.Timestamp("2026-03-02T06:00Z") + pd.Timedelta(minutes=number),
            "tracklet": number // 10,
            "scenario": "vi",
            "group": "visible",
        }
        for number in range(count)
    ]
    return frame_of(rows).assign(**columns)


def make_reference(*, features: bool = False, seed: int = 1) -> Reference:
    """Accepted images of two cameras, with features of their own if wanted."""
    cameras = ("vi-c2", "vi-c3")
    profile = pd.concat([make_profile(camera=name, seed=seed + n) for n, name in enumerate(cameras)], ignore_index=True)
    known = Reference(profile, profile.iloc[:0][["path", "sha256", "phash"]], None, cameras, "visible", "abc123")
    return replace(known, features=make_features(profile["camera"].to_numpy())) if features else known


def make_features(cameras: Any, *, shift: float = 0.0, seed: int = 5) -> np.ndarray:
    """[N, 16] float32: noise, a direction of each camera, and a shift that no camera has."""
    rng = np.random.default_rng(seed)
    features = rng.normal(0, 1, (len(cameras), 16)) + 2
    for number, name in enumerate(sorted(set(cameras))):
        features[np.asarray(cameras) == name, number] += 0.5
    features[:, 8] += shift
    return features.astype(np.float32)
