"""Crops cut from a video by boxes.

Crops are kept as PNG, which loses nothing: the video was encoded with loss already, and a second loss would change the
blur, noise and hashes by which a feed is judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from itkm.errors import InputError, ItkmError
from itkm.feeds.quarantine import Fault
from itkm.feeds.staging import Staging
from itkm.feeds.table import read_csv

REQUIRED = ("frame", "x", "y", "width", "height")
OPTIONAL = ("tracklet",)
MIN_INSIDE = 0.5  # share of a box that must lie in the frame; its part inside is cut. Detectors overshoot a little.

Frame = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Box:
    """One line of the boxes.

    Attributes:
        line: of the file, from 1; the header is the first.
        frame: from 0.
        x, y: pixels of the upper left corner; may lie outside of the frame.
        width, height: pixels.
        tracklet: -1 unknown.
    """

    line: int
    frame: int
    x: int
    y: int
    width: int
    height: int
    tracklet: int

    @property
    def name(self) -> str:
        """The name of its crop."""
        return f"frame-{self.frame:07d}-{self.line:07d}.png"


def cut(video: Path, boxes: Path, staging: Staging, *, start: pd.Timestamp | None) -> None:
    """Cuts the crops of all boxes, in one pass over the video, which is only read.

    A box that leaves the frame by more than `MIN_INSIDE` allows, or whose frame the video does not have, is noted.

    Args:
        video: any file that OpenCV reads.
        boxes: csv of `REQUIRED` and `OPTIONAL` columns, see `Box`.
        staging: gets the crops as `frame-<frame>-<line>.png`.
        start: time of the first frame; None = unknown.

    Raises:
        InputError: an unusable table, or a video that cannot be read.
    """
    import cv2

    waiting = read_boxes(boxes)
    capture = cv2.VideoCapture(str(video))
    try:
        if not capture.isOpened():
            raise InputError(f"{video}: cannot be read as a video. Expected what OpenCV reads, such as mp4 or avi.")
        rate = capture.get(cv2.CAP_PROP_FPS)
        for number in range(max(waiting) + 1):  # in order: to seek is not exact in many formats
            found, frame = capture.read()
            if not found:
                break
            time = start + timedelta(seconds=number / rate) if start is not None and rate > 0 else None
            for box in waiting.pop(number, []):
                _add(staging, box, np.asarray(frame, dtype=np.uint8), time=time)
    finally:
        capture.release()
    for box in (box for boxes_of_frame in waiting.values() for box in boxes_of_frame):
        reason = f"{boxes} line {box.line}: {video.name} has no frame {box.frame} (they count from 0). Correct it."
        staging.add(box.name, None, fault=Fault("frame", reason), tracklet=box.tracklet)


def read_boxes(file: Path) -> dict[int, list[Box]]:
    """The boxes of each frame.

    Raises:
        InputError: missing or unknown columns, no row, or a cell that is no whole number.
    """
    table = read_csv(file, required=REQUIRED, optional=OPTIONAL)
    numbers = table.replace({"tracklet": {"": "-1"}}).apply(pd.to_numeric, errors="coerce")
    least = pd.Series({"frame": 0, "x": -np.inf, "y": -np.inf, "width": 1, "height": 1, "tracklet": -1})
    bad = ((numbers % 1 != 0) | (numbers < least)).to_numpy()
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise InputError(
            f"{file} line {row + 2}: {table.columns[column]} is {table.iloc[row, column]!r}, expected a whole number, "
            f"of width and height at least 1. {int(bad.any(axis=1).sum())} lines have such; correct them."
        )
    boxes: dict[int, list[Box]] = {}
    for line, values in enumerate(numbers.astype("int64").to_dict("records"), start=2):
        box = Box(line=line, **{str(name): int(value) for name, value in values.items()})
        boxes.setdefault(box.frame, []).append(box)
    return boxes


def _add(staging: Staging, box: Box, frame: Frame, *, time: datetime | None) -> None:
    """Adds the part of a box that lies in the frame [H, W, 3]."""
    height, width = frame.shape[:2]
    across = slice(max(box.x, 0), max(min(box.x + box.width, width), 0))
    down = slice(max(box.y, 0), max(min(box.y + box.height, height), 0))
    crop = frame[down, across]
    inside = crop.shape[0] * crop.shape[1] / (box.width * box.height)
    fault = None
    if inside < MIN_INSIDE:
        where = f"line {box.line} of the boxes: {box.width}x{box.height} at {box.x},{box.y}"
        reason = f"{where} lies {1 - inside:.0%} outside of the frame of {width}x{height}. Correct it."
        fault = Fault("frame", reason)
    timestamp = "" if time is None else time.isoformat()
    staging.add(box.name, _png(crop) if crop.size else None, fault=fault, timestamp=timestamp, tracklet=box.tracklet)


def _png(crop: Frame) -> bytes:
    import cv2

    written, content = cv2.imencode(".png", crop)
    if not written:
        raise ItkmError(f"a crop of {crop.shape[1]}x{crop.shape[0]} pixels could not be encoded as PNG.")
    return content.tobytes()
