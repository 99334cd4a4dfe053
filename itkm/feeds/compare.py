"""What only a comparison tells of the images of a feed: which are copies, and how unlike accepted ones they are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from itkm.feeds.duplicates import group_near, nearest, parse
from itkm.feeds.thresholds import Reference

ROWS = 512  # features compared at a time

Floats = npt.NDArray[np.float32]


def compare(profile: pd.DataFrame, reference: Reference, features: Floats | None = None) -> pd.DataFrame:
    """The profile with what only a comparison tells: near duplicates in the feed and in known data, and distances.

    Args:
        profile: one row per file.
        reference: the accepted data of its scenario and group, and the images by which models are judged.
        features: [N, D] of the rows that decode, in their order; None without a model.
    """
    decoded = profile["decode_ok"].to_numpy()
    hashes = parse(profile.loc[decoded, "phash"])
    known = nearest(hashes, parse(reference.profile["phash"]))
    judged = nearest(hashes, parse(reference.evaluation["phash"]))
    paths = np.array([*reference.profile["path"], ""], dtype=object)  # the last is that of none, -1
    compared = profile.copy()
    compared.loc[decoded, "duplicate_group"] = group_near(hashes)
    compared.loc[decoded, "known_duplicate"] = paths[known]
    compared.loc[decoded, "evaluation_overlap"] = judged >= 0
    if features is not None and reference.features is not None:
        compared.loc[decoded, "embedding_distance"] = _distances(features, reference.features)
    return compared


def _distances(features: Floats, known: Floats) -> Floats:
    """Cosine distance of each of features [N, D] to the nearest of known [M, D], block by block."""
    units = known / np.maximum(np.linalg.norm(known, axis=1, keepdims=True), 1e-12)
    distances = np.empty(len(features), dtype=np.float32)
    for start in range(0, len(features), ROWS):
        block = features[start : start + ROWS]
        norms = np.maximum(np.linalg.norm(block, axis=1), 1e-12)
        distances[start : start + ROWS] = 1 - (block @ units.T).max(axis=1) / norms
    return distances
