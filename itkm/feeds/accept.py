"""An accepted feed becomes training data: a shard per camera and day, the manifest, DVC, Git.

Each step finds out by itself whether it was done, so that an acceptance that was killed goes on when it is run again:

1. the feed is written into the history beside the data, which reserves the names of its shards;
2. the shards, each whole or absent;
3. the manifest, which from then on names them: this makes the images training data;
4. the images leave the feed folder, each once its bytes were read back from a shard;
5. `dvc add` of these files alone, so that the rest of the data need not be present; a commit of data.dvc alone;
   `dvc push`; and only then `git push`, so that no pointer dangles.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from itkm.data.importers.source import UNKNOWN
from itkm.data.manifest import COLUMNS, MANIFEST_FILE, RENDERED, read_manifest, validated, write_manifest
from itkm.data.shards import FEEDS, HIDDEN, ShardReader, ShardWriter, pack, valid_row
from itkm.errors import InputError, ItkmError
from itkm.feeds import history
from itkm.feeds.feed import ACCEPTANCE_FILE, IMAGES, PROFILE_FILE, VALIDATION_FILE, Feed, remove_temporary
from itkm.feeds.intake import walk
from itkm.feeds.verdict import Verdict
from itkm.files import locked, replacing, require_space, sha256, write_json

TRACKED = Path("data.dvc")


def accept(folder: Path, data: Path, *, override: str = "") -> history.Record:
    """Makes the images of a validated feed training data: split `train`, of unknown persons.

    A feed whose content was accepted before adds nothing.

    Args:
        folder: the feed folder.
        data: data/<scenario>, of the feed's scenario.
        override: why a refused feed is accepted all the same; "" = it is not.

    Returns:
        The record of the acceptance.

    Raises:
        InputError: not a validated feed, a refused one without `override`, no image in it, images that were changed
            or removed since, a row that the manifest would not take, or no space.
    """
    feed, profile = Feed.load(folder), read_profile(folder)
    images = profile[profile["decode_ok"]].reset_index(drop=True)
    with locked(folder), locked(data / HIDDEN):
        remove_temporary(data.glob(f".{MANIFEST_FILE}.*"), (data / FEEDS).rglob(".*"))
        record = history.accepted(data, feed.content)
        if record is None:
            record = _new_record(folder, feed, profile, data, override=override)
            require_space(data, int(images["bytes"].sum()) + len(images) * 1024)
            _require_packable(images, folder, feed)
            history.append(record, data / history.ACCEPTED)
        manifest = _manifest(data)
        if not set(record["shards"]) <= set(manifest["shard"]):
            images = images.assign(shard=_shard_of(images, feed, record["shards"]))
            rows = [
                row for shard, part in images.groupby("shard") for row in _pack(part, folder, data / str(shard), feed)
            ]
            added = validated(pd.DataFrame(rows, columns=list(COLUMNS)), COLUMNS, file=folder)
            manifest = pd.concat([manifest, added], ignore_index=True)
            write_manifest(manifest, data)
        _hand_over(folder, profile, record, ShardReader(data))
    return record


def publish(data: Path, record: history.Record, *, root: Path) -> list[str]:
    """Versions an acceptance with DVC and Git, and sends both to their remotes; see the steps of this module.

    Args:
        data: data/<scenario> below `root`.
        record: as `accept` returns it.
        root: the project's folder.

    Returns:
        What was done, in words.

    Raises:
        ItkmError: DVC or Git failed; the message is theirs. Nothing is lost, and a further call goes on.
    """
    files = [data / name for name in (*record["shards"], MANIFEST_FILE, history.ACCEPTED)]
    # A file inside a folder that DVC tracks: data.dvc is updated, and what else it names need not be here.
    added = [str(file.relative_to(root)) for file in files] if (root / TRACKED).exists() else ["data"]
    _run("dvc", "add", "--quiet", *added, root=root)
    done = ["dvc add"]
    if _run("git", "status", "--porcelain", "--", str(TRACKED), root=root):
        _run("git", "add", "--intent-to-add", str(TRACKED), root=root)
        message = f"Feed of {record['camera']}: {record['images']} images, {', '.join(record['shards'])}"
        _run("git", "commit", "--quiet", "--only", "-m", message, "--", str(TRACKED), root=root)
        done.append(f"commit of {TRACKED}")
    _run("dvc", "push", "--quiet", str(TRACKED), root=root)
    done.append("dvc push")
    if _has_upstream(root):
        _run("git", "push", "--quiet", root=root)
        done.append("git push")
    return done


def require_project(root: Path) -> None:
    """Refuses to begin where DVC or Git could not finish.

    Raises:
        InputError: not the folder of a project.
    """
    if not (root / ".dvc").is_dir() or not (root / ".git").exists():
        raise InputError(f"{root.resolve()}: no DVC and Git project. Run the command in the project's folder.")


def read_profile(folder: Path) -> pd.DataFrame:
    """The profile of a feed folder.

    Raises:
        InputError: it has none.
    """
    file = folder / PROFILE_FILE
    if not file.is_file():
        raise InputError(f"{file}: not found. Run `itkm feed validate` to its end, with --out {folder}.")
    return pd.read_parquet(file)


def _new_record(folder: Path, feed: Feed, profile: pd.DataFrame, data: Path, *, override: str) -> history.Record:
    """The record of a feed that may be accepted, with the names of its shards."""
    verdict = Verdict.load(folder / VALIDATION_FILE)
    if verdict.feed is None or verdict.feed["content"] != feed.content:
        raise InputError(f"{folder / VALIDATION_FILE}: of another feed. Validate this one again.")
    if verdict.status == "refused" and not override:
        raise InputError(
            f"{folder}: was refused: {verdict.reason} See its report.html; what is good all the same goes in with "
            '--override "reason".'
        )
    images = profile[profile["decode_ok"]]
    if images.empty:
        raise InputError(f"{folder}: no image that decodes. There is nothing to accept.")
    taken = {
        *_manifest(data)["shard"],
        *(name for known in history.read(data / history.ACCEPTED) for name in known["shards"]),
    }
    days = sorted(set(zip(images["camera"], _days(images, feed), strict=True)))
    return {
        **history.record_of(feed, verdict),
        "event": "accepted",
        "accepted_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "override": override if verdict.status == "refused" else "",
        "shards": [_free_name(camera, day, taken) for camera, day in days],
    }


def _free_name(camera: str, day: str, taken: Collection[str]) -> str:
    """The shard of a camera and day; of a further feed of the same day `<day>-1.tar`."""
    names = (f"{FEEDS}/{camera}/{day}{f'-{number}' if number else ''}.tar" for number in range(len(taken) + 1))
    return next(name for name in names if name not in taken)


def _days(images: pd.DataFrame, feed: Feed) -> pd.Series[str]:
    """The day (UTC) of each image, that of the claim where its time is unknown."""
    days: pd.Series[str] = images["timestamp"].dt.strftime("%Y-%m-%d").fillna(feed.claimed_at[:10]).astype("str")
    return days


def _shard_of(images: pd.DataFrame, feed: Feed, shards: Sequence[str]) -> list[str]:
    """The shard of each image, among those that were reserved: one per camera and day."""
    by_day = {(Path(shard).parent.name, Path(shard).name[:10]): shard for shard in shards}
    return [by_day[place] for place in zip(images["camera"], _days(images, feed), strict=True)]


def _manifest(data: Path) -> pd.DataFrame:
    """The manifest, without a row where there is none yet."""
    return read_manifest(data) if (data / MANIFEST_FILE).exists() else pd.DataFrame(columns=list(COLUMNS))


def _require_packable(images: pd.DataFrame, folder: Path, feed: Feed) -> None:
    """Refuses what the shards or the manifest would refuse, while nothing says yet that it was accepted."""
    for number, image in enumerate(images.to_dict("records")):
        valid_row(_row(image, feed), number=number)
        _content(image, folder)


def _content(image: Mapping[Hashable, Any], folder: Path) -> bytes:
    """The file of an image of the profile.

    Raises:
        InputError: it is gone, or holds something else than was validated.
    """
    file = folder / IMAGES / str(image["path"])
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{file}: is gone since it was validated. Validate it again.") from error
    if hashlib.sha256(content).hexdigest() != image["sha256"]:
        raise InputError(f"{file}: changed since it was validated. Validate it again.")
    return content


def _pack(images: pd.DataFrame, folder: Path, shard: Path, feed: Feed) -> Iterator[dict[str, object]]:
    """Writes one shard and yields its rows of the manifest. In the order of hashes: that of names may tell persons."""
    taken: Counter[str] = Counter()
    with ShardWriter(shard) as writer:
        rows = []
        for number, image in enumerate(images.sort_values(["sha256", "path"]).to_dict("records")):
            content = _content(image, folder)
            row = valid_row(_row(image, feed), number=number)
            packed = pack(row, content, writer, place=f"{image['camera']}/{shard.stem}", taken=taken)
            rows.append({**packed, "shard": image["shard"]})
    yield from rows


def _row(image: Mapping[Hashable, Any], feed: Feed) -> dict[str, object]:
    """The row of the manifest of an image of the profile, without path and shard."""
    time, source = image["timestamp"], str(image["path"])
    return {
        **UNKNOWN,
        "scenario": feed.scenario,
        "group": feed.group,
        "camera": image["camera"],
        "resolution": f"{image['width']}x{image['height']}",
        "timestamp": "" if pd.isna(time) else f"{time:%Y-%m-%dT%H:%M:%SZ}",
        "source": f"./{source}" if source.startswith(RENDERED) else source,
    }


def _hand_over(folder: Path, profile: pd.DataFrame, record: history.Record, reader: ShardReader) -> None:
    """Notes the acceptance in the feed folder, and removes the images whose bytes the shards hold."""
    shard_of = {
        hashlib.sha256(reader.read(shard, member)).hexdigest(): shard
        for shard in record["shards"]
        for member in reader.names(shard)
    }
    with replacing(folder / PROFILE_FILE) as temporary:
        profile.assign(shard=profile["sha256"].map(shard_of).fillna("")).to_parquet(temporary, index=False)
    write_json(folder / ACCEPTANCE_FILE, record)
    images = folder / IMAGES
    for entry in list(walk(images)) if images.exists() else []:
        file = Path(entry.path)
        if sha256(file) in shard_of:
            file.unlink()


def _has_upstream(root: Path) -> bool:
    command = ["git", "rev-parse", "--abbrev-ref", "--symbolic-full-name", "@{upstream}"]
    return subprocess.run(command, cwd=root, capture_output=True).returncode == 0


def _run(program: str, *arguments: str, root: Path) -> str:
    """Runs DVC or Git in the project's folder and returns what it printed."""
    start = [sys.executable, "-m", "dvc"] if program == "dvc" else [program]
    done = subprocess.run([*start, *arguments], cwd=root, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise ItkmError(
            f"`{program} {arguments[0]}` failed: {said}\nThe images are part of the data here; mend this and type the "
            "same command again: it goes on."
        )
    return done.stdout.strip()
