"""What the tests of the feeds share: a drop becomes a feed folder, a verdict without its checks, files by content."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from itkm.cli.feed import PATTERN
from itkm.feeds.feed import CLAIMED, IMAGES, PROFILE_FILE, QUARANTINE, VALIDATION_FILE, Feed
from itkm.feeds.intake import claim, sort_files
from itkm.feeds.quarantine import REASON
from itkm.feeds.verdict import Status, Verdict
from itkm.files import locked

DECLARED = Feed("vi-c1", "vi", "visible", source="", claimed_at="")


def take(
    source: Path, folder: Path, *, declared: Feed = DECLARED, boxes: Path | None = None, pattern: str = PATTERN
) -> tuple[Feed, pd.DataFrame]:
    """Claims and sorts a drop, as the command does; also writes the profile."""
    with locked(folder):
        feed = claim(source, folder, declared, boxes=boxes, pattern=pattern)
        feed, profile = sort_files(folder, feed, pattern=pattern, progress=_plain)
        profile.to_parquet(folder / PROFILE_FILE, index=False)
    return feed, profile


def _plain(rows: Iterable[dict[str, object]], total: int) -> Iterable[dict[str, object]]:
    return rows


def judge(folder: Path, status: Status = "accepted") -> Verdict:
    """Writes a verdict that was reached without a check."""
    profile = pd.read_parquet(folder / PROFILE_FILE)
    verdict = Verdict(
        status=status,
        reason="As the test wants it.",
        next_action="",
        command="",
        folder=str(folder),
        checks=(),
        images=len(profile),
        decoded=int(profile["decode_ok"].sum()),
        feed=asdict(Feed.load(folder)),
        reference={},
        drift=None,
        thresholds={},
        versions={},
    )
    verdict.save(folder / VALIDATION_FILE)
    return verdict


def digests(folder: Path) -> Counter[str]:
    """How often each content lies in a folder, as SHA-256, without reasons, whole or half-written ones."""
    files = (file for file in folder.rglob("*") if file.is_file() and REASON not in file.name)
    return Counter(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)


def in_feed(folder: Path) -> Counter[str]:
    """How often each content lies in a feed folder, wherever in it."""
    return digests(folder / CLAIMED) + digests(folder / IMAGES) + digests(folder / QUARANTINE)


def of(files: dict[str, bytes]) -> Counter[str]:
    """How often each content is among files."""
    return Counter(hashlib.sha256(content).hexdigest() for content in files.values())
