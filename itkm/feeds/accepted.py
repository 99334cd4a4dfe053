"""The profile of a scenario's data as they are: training, validation, query and gallery images of both groups."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from itkm.data.manifest import read_manifest
from itkm.data.shards import ShardReader
from itkm.feeds.duplicates import group_near, parse
from itkm.feeds.profile import profile_images


def profile_scenario(folder: Path) -> pd.DataFrame:
    """One row per row of the manifest, in its order: the columns of a profile, and `split`.

    `duplicate_group` is told of training images, within their group.

    `evaluation_overlap` marks training images whose very file is also one by which models are judged. Near copies do
    not count here: published data sets have look-alikes on both sides, and cannot be changed.

    Raises:
        InputError: an unusable manifest, or a shard or member that is missing.
    """
    manifest = read_manifest(folder)
    reader = ShardReader(folder)
    places = zip(manifest["path"], manifest["shard"], strict=True)
    profile = profile_images((path, reader.read(shard, path)) for path, shard in places)
    for column in ("shard", "scenario", "group", "camera"):
        profile[column] = manifest[column]
    profile["timestamp"] = pd.to_datetime(manifest["timestamp"], utc=True, format="ISO8601", errors="coerce")
    judged = profile.loc[manifest["split"] != "train", "sha256"]
    profile["evaluation_overlap"] = (manifest["split"] == "train") & profile["sha256"].isin(judged)
    for _, rows in profile[profile["decode_ok"] & (manifest["split"] == "train")].groupby("group"):
        profile.loc[rows.index, "duplicate_group"] = group_near(parse(rows["phash"]))
    return profile.assign(split=manifest["split"])
