"""The accepted data that a feed is compared with: profiled and embedded once, and kept until they change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from itkm import __version__
from itkm.data.images import Encoded, packed_images
from itkm.data.manifest import MANIFEST_FILE, read_manifest
from itkm.data.shards import HIDDEN
from itkm.feeds.accepted import profile_scenario
from itkm.feeds.thresholds import Reference
from itkm.files import replacing, sha256, write_npz

CACHE = HIDDEN / "feeds" / "reference"  # of a project; what it keeps is made again where it is missing


@dataclass(frozen=True)
class Embedder:
    """A model as feeds need it, so that this room knows no model.

    Attributes:
        embed: gives the features [N, D] of N images of the feed's scenario and group.
        fingerprint: tells the model from any other.
    """

    embed: Callable[[Sequence[Encoded]], NDArray[np.float32]]
    fingerprint: str


def load_reference(folder: Path, *, group: str, embedder: Embedder | None, cache: Path) -> Reference:
    """Reads the accepted data of a scenario.

    Args:
        folder: holds the manifest and the shards; without a manifest nothing was accepted yet.
        group: of the feed.
        embedder: embeds the training images of the group; None = no features.
        cache: folder that keeps profiles and features, named after what they are made of.

    Raises:
        InputError: an unusable manifest or shard.
    """
    if not (folder / MANIFEST_FILE).is_file():
        return Reference.empty()
    profile = cached_profile(folder, cache)
    training = profile["split"] == "train"
    return Reference(
        profile=profile[training].drop(columns="split").reset_index(drop=True),
        evaluation=profile.loc[~training, ["path", "sha256", "phash"]].reset_index(drop=True),
        features=None if embedder is None else _features(folder, group, embedder, cache),
        cameras=tuple(sorted(profile["camera"].unique())),
        group=group,
        data=sha256(folder / MANIFEST_FILE),
    )


def cached_profile(folder: Path, cache: Path) -> pd.DataFrame:
    """`profile_scenario` of a folder, measured once for a manifest: the names of its images tell their content.

    Raises:
        InputError: an unusable manifest or shard.
    """
    if not (folder / MANIFEST_FILE).is_file():
        return profile_scenario(folder)  # which says what is missing
    kept = cache / f"{sha256(folder / MANIFEST_FILE)}-{__version__}.parquet"
    if not kept.is_file():
        with replacing(kept) as temporary:
            profile_scenario(folder).to_parquet(temporary, index=False)
    return pd.read_parquet(kept)


def _features(folder: Path, group: str, embedder: Embedder, cache: Path) -> NDArray[np.float32] | None:
    """Features [N, D] of the group's training images, in the manifest's order; None where it has none."""
    kept = cache / f"{sha256(folder / MANIFEST_FILE)}-{group}-{embedder.fingerprint}.npz"
    if not kept.is_file():
        manifest = read_manifest(folder)
        own = manifest[(manifest["split"] == "train") & (manifest["group"] == group)]
        if own.empty:
            return None
        write_npz(kept, {"features": embedder.embed(packed_images(own, folder))})
    with np.load(kept, allow_pickle=False) as archive:
        return np.asarray(archive["features"], dtype=np.float32)
