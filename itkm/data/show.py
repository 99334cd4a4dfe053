"""A contact sheet of a scenario: each group's cameras, a line of random images each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from itkm.data.groups import name_groups
from itkm.data.images import decode, squash
from itkm.data.manifest import name_image, read_manifest
from itkm.data.shards import ShardReader

CELL = (64, 128)  # width and height of an image
IMAGES_PER_LINE = 8
LABEL_WIDTH = 150
TITLE_HEIGHT = 24
GAP = 4


def contact_sheet(folder: Path, *, rows: int = 6, seed: int = 0) -> Image.Image:
    """Draws a scenario: below each other its groups, a title each, then one line of random images a camera.

    Args:
        folder: holds `manifest.parquet` and the shards.
        rows: the most lines of a group; where it has more cameras, some are drawn at random.
        seed: of the random choice; the same seed gives the same sheet.

    Raises:
        InputError: no usable manifest, more than two groups, or an unreadable image.
    """
    frame = read_manifest(folder)
    scenario = str(frame["scenario"].iloc[0])
    random = np.random.default_rng(seed)
    reader = ShardReader(folder)
    strips: list[Image.Image] = []
    for group in name_groups(scenario, frame["group"], file=folder):
        members = frame[frame["group"] == group]
        cameras = sorted(members["camera"].unique())
        chosen = sorted(random.permutation(cameras)[:rows])
        title = f"{scenario} / {group}: {len(members)} images, {len(cameras)} cameras"
        strips.append(_title(title if len(chosen) == len(cameras) else f"{title}, {len(chosen)} shown"))
        strips += [_line(members[members["camera"] == camera], camera, reader, random) for camera in chosen]
    return _stack(strips)


def _line(members: pd.DataFrame, camera: str, reader: ShardReader, random: np.random.Generator) -> Image.Image:
    width, height = CELL
    strip = Image.new("RGB", (LABEL_WIDTH + IMAGES_PER_LINE * (width + GAP), height + GAP), "white")
    label = ImageDraw.Draw(strip)
    label.text((GAP, GAP), f"{camera[:20]}\n{len(members)} images", fill="black", font=ImageFont.load_default(13))
    picked = random.permutation(len(members))[:IMAGES_PER_LINE]
    drawn = members.iloc[picked][["shard", "path", "source"]]
    for place, (shard, path, source) in enumerate(drawn.itertuples(index=False)):
        image = decode(reader.read(shard, path), name=f"{shard}: {name_image(path, source)}")
        strip.paste(squash(image, height=height, width=width), (LABEL_WIDTH + place * (width + GAP), 0))
    return strip


def _title(text: str) -> Image.Image:
    strip = Image.new("RGB", (LABEL_WIDTH + IMAGES_PER_LINE * (CELL[0] + GAP), TITLE_HEIGHT), "lightgrey")
    ImageDraw.Draw(strip).text((GAP, GAP), text, fill="black", font=ImageFont.load_default(14))
    return strip


def _stack(strips: list[Image.Image]) -> Image.Image:
    sheet = Image.new("RGB", (strips[0].width, sum(strip.height for strip in strips)), "white")
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return sheet
