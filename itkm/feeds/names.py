"""What the names of files tell: camera, time and tracklet, by one pattern."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd
from pandas.api.typing import NaTType

from itkm.errors import InputError
from itkm.feeds.feed import Feed
from itkm.feeds.staging import Entry

GROUPS = ("camera", "timestamp", "tracklet")


def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern of file names, checked.

    Raises:
        InputError: not a regular expression, or its groups are not named by `GROUPS`.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"--names {pattern!r}: not a regular expression ({error}). Correct it.") from error
    if not expression.groupindex or not set(expression.groupindex) <= set(GROUPS):
        raise InputError(
            f"--names {pattern!r}: its named groups are {', '.join(expression.groupindex) or 'none'}, expected some of "
            f"{', '.join(GROUPS)}, such as (?P<tracklet>\\d+)_.*"
        )
    return expression


def read_names(profile: pd.DataFrame, feed: Feed, entries: Mapping[str, Entry], *, pattern: str) -> pd.DataFrame:
    """The profile with camera, time, tracklet, scenario and group of each row.

    What the source says of a file goes before what its name says; a camera that neither names is the feed's. Times
    without a zone are UTC; what is no time of a year from 1000 to 9999 is unknown.

    Args:
        profile: its rows have a `path`.
        feed: the identity.
        entries: what the source says, by path.
        pattern: matched at the start of the last part of each path.

    Raises:
        InputError: a bad pattern.
    """
    expression = compiled(pattern)
    rows = [_told(path, entries.get(path), expression) for path in profile["path"]]
    told = pd.DataFrame(rows, columns=list(GROUPS), index=profile.index, dtype="object")
    times = pd.to_datetime(told["timestamp"].replace("", None), utc=True, errors="coerce", format="ISO8601")
    times = times.astype("datetime64[us, UTC]")
    return profile.assign(
        camera=told["camera"].where(told["camera"] != "", feed.camera).astype("str"),
        timestamp=times.where(times.dt.year.between(1000, 9999)),  # a year of four digits, as the manifest has it
        tracklet=told["tracklet"].astype("int64"),
        scenario=feed.scenario,
        group=feed.group,
    )


def start_of(name: str, pattern: str) -> pd.Timestamp | None:
    """The time that a name tells; None where it tells none."""
    _, time, _ = _told(name, None, compiled(pattern))
    stamp = pd.to_datetime(time, utc=True, errors="coerce", format="ISO8601")
    return None if isinstance(stamp, NaTType) else stamp


def _told(path: str, entry: Entry | None, pattern: re.Pattern[str]) -> tuple[str, str, int]:
    """Camera, time and tracklet of a file; "", "" and -1 where unknown."""
    match = pattern.match(path.rsplit("/", 1)[-1])
    named = {name: text or "" for name, text in match.groupdict().items()} if match else {}
    tracklet = named.get("tracklet", "")
    known = entry or Entry(path, path)
    return (
        known.camera or named.get("camera", ""),
        known.timestamp or named.get("timestamp", ""),
        known.tracklet if known.tracklet >= 0 or not tracklet.isdecimal() else int(tracklet[:18]),
    )
