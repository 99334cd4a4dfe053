"""What came from a camera before: a line of JSON for each feed.

* `data/<scenario>/feeds/history.jsonl`: those that were accepted; versioned with the data.
* `data/<scenario>/.itkm/feeds.jsonl`: all that were validated here; local, as a refused feed must not change the data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from itkm.data.shards import FEEDS, HIDDEN
from itkm.feeds.feed import Feed
from itkm.feeds.verdict import Verdict
from itkm.files import locked, write_bytes

ACCEPTED = FEEDS / "history.jsonl"
VALIDATED = HIDDEN / "feeds.jsonl"
COLUMNS = (
    *("event", "date", "feed", "camera", "scenario", "group", "source"),
    *("images", "quarantined", "status", "override", "shares"),
)

Record = dict[str, Any]
"""A feed: `COLUMNS`, and of an accepted one `accepted_at` and `shards`. `event` is `validated` or `accepted`, `date`
that of the claim, `feed` the hash of the content, `shares` the share of its files that failed each check."""


def record_of(feed: Feed, verdict: Verdict) -> Record:
    """The record of a feed that was validated."""
    return {
        "event": "validated",
        "date": feed.claimed_at,
        "feed": feed.content,
        "camera": feed.camera,
        "scenario": feed.scenario,
        "group": feed.group,
        "source": feed.source,
        "images": verdict.decoded,
        "quarantined": verdict.images - verdict.decoded,
        "status": verdict.status,
        "override": "",
        "shares": {check.name: check.offender_count / max(verdict.images, 1) for check in verdict.checks},
    }


def append(record: Record, file: Path) -> None:
    """Adds a record at the end, atomically: DVC may have linked the file to its cache, where it must not change.

    Args:
        record: of a feed.
        file: `ACCEPTED` or `VALIDATED` in data/<scenario>. Other processes that add to it meanwhile wait.

    Raises:
        InputError: the folder cannot be written.
    """
    # The scenario's folder, as commands that change the data hold `.itkm` in it for long.
    with locked(file.parent.parent, wait=True):
        earlier = file.read_bytes() if file.exists() else b""
        write_bytes(file, earlier + json.dumps(record, sort_keys=True).encode() + b"\n")


def read(file: Path) -> list[Record]:
    """The records of a file, oldest first; none where there is no file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def accepted(data: Path, content: str) -> Record | None:
    """The record of the accepted feed of this content, which may still be on its way into the manifest."""
    return next((record for record in read(data / ACCEPTED) if record["feed"] == content), None)


def earlier(folders: Iterable[Path], camera: str) -> pd.DataFrame:
    """The feeds of a camera, oldest first, each once: as accepted, else as last validated.

    Args:
        folders: data/<scenario> of one or more scenarios.
        camera: its name.

    Returns:
        The columns `COLUMNS`.
    """
    records = {
        (record["scenario"], record["feed"]): record
        for folder in folders
        for file in (VALIDATED, ACCEPTED)
        for record in read(folder / file)
        if record["camera"] == camera
    }
    ordered = sorted(records.values(), key=lambda record: (record["date"], record["feed"]))
    return pd.DataFrame(ordered, columns=list(COLUMNS))
