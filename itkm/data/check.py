"""Every convention that the project relies on, checked, with the offending rows named."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from PIL import Image

from itkm.data.groups import INFRARED_NAMES, VISIBLE_NAMES, name_groups
from itkm.data.images import decode
from itkm.data.manifest import name_image, name_rows, read_manifest
from itkm.data.shards import ShardReader, unlisted_shards
from itkm.errors import InputError

Severity = Literal["error", "warning"]

MIN_TRAINING_IMAGES = 64  # per group: fewer leave nothing to cluster
SMALL = (12, 24)  # width and height below which a person is hard to tell even for a human
HUGE_PIXELS = 4_000_000  # rather a whole frame than a crop
GREY_SPREAD = 2.0  # mean over the image of (largest - smallest channel); JPEG leaves about 1 on grey pictures
TOLERATED_SHARE = 0.05


@dataclass(frozen=True)
class Finding:
    """A broken convention.

    Attributes:
        severity: an error makes the data unusable; a warning deserves a look.
        rule: the short name of the convention.
        message: what was found, what was expected, and what to do.
        rows: the offending rows, each as "row NUMBER (PATH from SOURCE)"; numbers count from 0.
    """

    severity: Severity
    rule: str
    message: str
    rows: tuple[str, ...] = ()


def check_dataset(folder: Path, *, workers: int = 2) -> list[Finding]:
    """Checks a scenario's folder against every convention, decoding each image.

    Args:
        folder: holds `manifest.parquet` and the shards.
        workers: threads that decode.

    Returns:
        All findings, errors first; an empty list means that nothing is wrong.
    """
    try:
        frame = read_manifest(folder)
    except InputError as error:
        return [Finding("error", "schema", str(error))]
    measures = measure_images(frame, folder, workers=workers)
    found = [
        *check_scenario(frame, folder),
        *check_groups(frame, folder),
        *check_cameras(frame),
        *check_paths(frame),
        *check_shards(frame, folder),
        *check_identities(frame),
        *check_positives(frame),
        *check_pixels(frame, measures),
        *check_modality(frame, measures),
    ]
    return sorted(found, key=lambda finding: finding.severity)  # stable, and "error" sorts before "warning"


def check_scenario(frame: pd.DataFrame, folder: Path) -> list[Finding]:
    """One scenario in a folder, and the folder named after it."""
    names = sorted(frame["scenario"].unique())
    if len(names) != 1:
        message = f"{len(names)} scenarios ({', '.join(names)}), expected one. Import each into its own folder."
        return [Finding("error", "scenario", message)]
    if folder.resolve().name != names[0]:
        message = (
            f"the folder is named {folder.resolve().name!r}, its scenario {names[0]!r}. A project looks for "
            f"data/{names[0]}: rename the folder or import with --scenario {folder.resolve().name}."
        )
        return [Finding("warning", "scenario", message)]
    return []


def check_groups(frame: pd.DataFrame, folder: Path) -> list[Finding]:
    """Two groups, and enough training images in each; or one group, which cannot be trained on."""
    train = frame[frame["split"] == "train"]
    try:
        names = name_groups(", ".join(frame["scenario"].unique()), frame["group"], file=folder)
    except InputError as error:
        return [Finding("error", "groups", str(error))]
    if len(names) == 1:
        message = (
            f"one group ({names[0]!r}): this can be embedded, searched and scored, but training needs two. To train, "
            "import it with --group twice, where the format takes it, or take a set of two groups."
        )
        return [Finding("warning", "groups", message)]
    counts = {name: int((train["group"] == name).sum()) for name in names}
    return [
        Finding(
            "error" if count == 0 else "warning",
            "training-images",
            f"group {name!r} has {count} training images, expected at least {MIN_TRAINING_IMAGES}. Add images of split "
            "'train'.",
        )
        for name, count in counts.items()
        if count < MIN_TRAINING_IMAGES
    ]


def check_cameras(frame: pd.DataFrame) -> list[Finding]:
    """At least two cameras: re-identification is between cameras. One group, which nobody trains on, may have one."""
    names = sorted(frame["camera"].unique())
    if len(names) >= 2:
        return []
    severity: Severity = "warning" if frame["group"].nunique() == 1 else "error"
    return [Finding(severity, "cameras", f"one camera ({names[0]}), expected at least two. Name the cameras apart.")]


def check_paths(frame: pd.DataFrame) -> list[Finding]:
    """No path twice: labels are joined to images by path."""
    return _offenders(
        frame,
        frame["path"].duplicated(keep=False),
        "error",
        "unique-paths",
        "{count} rows share a path with another row, expected each path once. Import the data again.",
    )


def check_shards(frame: pd.DataFrame, folder: Path) -> list[Finding]:
    """No image of a person lies in the folder without a row that names it."""
    named = frame.groupby("shard")["path"].agg(set)
    reader = ShardReader(folder)
    findings = [
        Finding("warning", "unlisted-shard", f"{shard} is named by no row. Remove it if an earlier import left it.")
        for shard in unlisted_shards(folder, named.index)
    ]
    for shard in named.index:
        try:
            further = [name for name in reader.names(shard) if name not in named[shard]]
        except InputError:
            continue  # check_pixels reports a damaged shard with the rows that need it
        if further:
            message = f"{shard} holds {len(further)} images that no row names: {name_rows(further)}. Pack it again."
            findings.append(Finding("warning", "unlisted-images", message))
    return findings


def check_identities(frame: pd.DataFrame) -> list[Finding]:
    """No known person in two of training, validation and test."""
    role = frame["split"].replace({"query": "test", "gallery": "test"})
    known = frame["person"] > 0
    roles = role[known].groupby(frame["person"]).nunique()
    shared = roles.index[roles > 1]
    return _offenders(
        frame,
        frame["person"].isin(shared) & known,
        "error",
        "identities",
        "{count} rows belong to " + str(len(shared)) + " persons that stand in more than one of train, validation and "
        "test, expected disjoint sets. Move each person to one side.",
    )


def check_positives(frame: pd.DataFrame) -> list[Finding]:
    """Every query has a gallery image of the same person under another camera: protocol `cross-group` sees no other.

    A gallery with captions needs no query: the captions ask.
    """
    query, gallery = frame[frame["split"] == "query"], frame[frame["split"] == "gallery"]
    if query.empty and (gallery["caption"] != "").any():
        return []
    if query.empty or gallery.empty:
        message = f"{len(query)} query and {len(gallery)} gallery images: this scenario cannot be evaluated."
        if query.empty and gallery.empty:
            return [Finding("warning", "evaluation", f"{message} Label some images for it if you can.")]
        return [Finding("error", "evaluation", f"{message} Give both, or neither.")]
    seen = gallery["camera"].groupby(gallery["person"]).agg(set).to_dict()
    lonely = [
        person <= 0 or not (seen.get(person, set()) - {camera})
        for person, camera in zip(query["person"], query["camera"], strict=True)
    ]
    mask = pd.Series(False, index=frame.index)
    mask.loc[query.index[lonely]] = True
    return _offenders(
        frame,
        mask,
        "error" if all(lonely) else "warning",
        "positives",
        "{count} of " + str(len(query)) + " queries have no gallery image of the same person under another camera, "
        "and would be skipped, whatever the group. Name the cameras of the groups apart, or add such images.",
    )


@dataclass(frozen=True)
class Measure:
    """What decoding one image showed: its error or its size, whether it is grey, and the SHA-256 of its file."""

    error: str = ""
    width: int = 0
    height: int = 0
    grey: bool = False
    digest: str = ""


def measure_images(frame: pd.DataFrame, folder: Path, *, workers: int) -> pd.DataFrame:
    """Decodes every image; one row of `Measure` for each row of `frame`, with the same index."""
    reader = ShardReader(folder)

    def measure(place: tuple[str, str, str]) -> Measure:
        shard, path, source = place
        try:
            content = reader.read(shard, path)
            image = decode(content, name=name_image(path, source))
        except InputError as error:
            return Measure(error=str(error))
        return Measure("", image.width, image.height, is_grey(image), hashlib.sha256(content).hexdigest())

    with ThreadPoolExecutor(workers) as pool:
        measures = list(pool.map(measure, zip(frame["shard"], frame["path"], frame["source"], strict=True)))
    return pd.DataFrame(measures, index=frame.index)


def is_grey(image: Image.Image) -> bool:
    """Whether all channels of an RGB image are equal, up to what JPEG does to grey."""
    pixels = np.asarray(image)
    return bool(np.mean(pixels.max(axis=2) - pixels.min(axis=2)) <= GREY_SPREAD)


def check_pixels(frame: pd.DataFrame, measures: pd.DataFrame) -> list[Finding]:
    """Every image decodes, is of the size of a person crop, and is there once."""
    whole = measures["error"] == ""
    small = whole & ((measures["width"] < SMALL[0]) | (measures["height"] < SMALL[1]))
    huge = measures["width"] * measures["height"] > HUGE_PIXELS
    twice = whole & measures["digest"].duplicated(keep=False)
    first = next(iter(measures.loc[~whole, "error"]), "")
    small_text = f"{{count}} images are smaller than {SMALL[0]}x{SMALL[1]} pixels. Remove them if nobody is to be seen."
    huge_text = f"{{count}} images have more than {HUGE_PIXELS:,} pixels. Expected crops of one person, not frames."
    return [
        *_offenders(frame, ~whole, "error", "decodable", "{count} images cannot be read; the first: " + first),
        *_offenders(frame, small, "warning", "tiny", small_text),
        *_offenders(frame, huge, "warning", "huge", huge_text),
        *_offenders(frame, twice, "warning", "duplicates", "{count} images are copies of another file. Keep one each."),
    ]


def check_modality(frame: pd.DataFrame, measures: pd.DataFrame) -> list[Finding]:
    """A group that calls itself visible is in colour, and one that calls itself infrared is grey."""
    whole = measures["error"] == ""
    grey = measures["grey"]
    declared: list[tuple[str, frozenset[str], pd.Series[bool]]] = [
        ("in grey", VISIBLE_NAMES, grey),
        ("in colour", INFRARED_NAMES, ~grey),
    ]
    findings: list[Finding] = []
    for looks, names, wrong in declared:
        for group in sorted(set(frame["group"].str.lower()) & names):
            members = whole & (frame["group"].str.lower() == group)
            share = float(wrong[members].mean()) if members.any() else 0.0
            if share > TOLERATED_SHARE:
                text = (
                    f"{share:.0%} of group {group!r} ({{count}} images) are {looks}. Check that the groups are right."
                )
                findings += _offenders(frame, members & wrong, "warning", "modality", text)
    return findings


def _offenders(
    frame: pd.DataFrame, mask: pd.Series[bool], severity: Severity, rule: str, message: str
) -> list[Finding]:
    """A finding about the rows in `mask`, or none. `{count}` in the message stands for their number."""
    bad = frame.loc[mask, ["path", "source"]]
    if bad.empty:
        return []
    rows = tuple(f"row {number} ({name_image(path, source)})" for number, path, source in bad.head(5).itertuples())
    return [Finding(severity, rule, message.replace("{count}", str(len(bad))), rows)]
