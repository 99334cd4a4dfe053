"""The profile of a feed: one row per file, measured in parallel.

Measured by Pillow, OpenCV and imagehash. cleanvision computes less than these columns and only of whole folders, so
that it would save no code.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from multiprocessing import get_context, parent_process
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from itkm.data.images import FORMATS
from itkm.feeds.quarantine import Fault, examine

GREY_SPREAD = 6  # largest - smallest channel of a grey pixel; JPEG moves the channels of a grey picture apart by less
ALONE = 256  # items from which processes are started: they take a second or two to come up
BATCH = 64  # images a task: large enough that a process costs nothing, small enough that all finish together

MEASURES: dict[str, object] = {
    **dict.fromkeys(("width", "height"), -1),
    "aspect": np.nan,
    "mode": "",
    **dict.fromkeys(("brightness", "brightness_p1", "brightness_p99", "contrast", "entropy", "laplacian"), np.nan),
    **dict.fromkeys(("chroma", "infrared_score"), np.nan),
    "phash": "",
}
"""What is told of a file that does not decode."""
CONTEXT: dict[str, object] = {
    "shard": "",
    "duplicate_group": -1,
    "known_duplicate": "",
    "evaluation_overlap": False,
    "camera": "",
    "timestamp": pd.NaT,
    "tracklet": -1,
    "scenario": "",
    "group": "",
    "embedding_distance": np.nan,
}
"""What a file alone cannot tell, where it is not known."""
COLUMNS = ("path", "sha256", "bytes", "decode_ok", "error", *MEASURES, *CONTEXT)

Row = dict[str, object]
Item = TypeVar("Item")


def profile_images(images: Iterable[tuple[str, bytes]], *, workers: int | None = None) -> pd.DataFrame:
    """The profile of any images: the columns `COLUMNS`, those of `CONTEXT` unknown.

    Args:
        images: name and content of each; taken as they are needed, so that few are in memory.
        workers: processes; None = one a core.
    """
    return frame_of(in_parallel(measure_named, images, workers=workers))


def frame_of(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows of the profile as a table with the columns `COLUMNS` and their types."""
    frame = pd.DataFrame([{**MEASURES, **CONTEXT, **row} for row in rows], columns=list(COLUMNS))
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], utc=True).astype("datetime64[us, UTC]")
    whole = dict.fromkeys(("bytes", "width", "height", "duplicate_group", "tracklet"), "int64")
    true = dict.fromkeys(("decode_ok", "evaluation_overlap"), "bool")
    text = dict.fromkeys(("path", "sha256", "error", "mode", "phash", "shard", "camera", "scenario", "group"), "str")
    known = {**whole, **true, **text, "known_duplicate": "str", "timestamp": frame["timestamp"].dtype}
    return frame.astype({name: known.get(name, "float64") for name in COLUMNS})


def measure_named(image: tuple[str, bytes]) -> Row:
    """The row of one image, given its name and content."""
    name, content = image
    return {"path": name, **measure(content, name=name)}


def measure(content: bytes, *, name: str) -> Row:
    """What the content of a file tells, decoded or not: the columns from `sha256` to `phash`."""
    row: Row = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    image = examine(content, name=name)
    if isinstance(image, Fault):
        return {**row, "decode_ok": False, "error": f"{image.rule}: {image.message}"}
    with Image.open(io.BytesIO(content), formats=FORMATS) as undecoded:
        mode = undecoded.mode
    return {**row, "decode_ok": True, "error": "", "mode": mode, **measure_pixels(image)}


def measure_pixels(image: Image.Image) -> Row:
    """What the pixels of an upright RGB image tell.

    `brightness` (mean), its percentiles, `contrast` (standard deviation), `entropy` (bits of the histogram) and
    `laplacian` (variance) are of the luminance, 0 to 255. `chroma` is the mean |channel - luminance|. `infrared_score`
    is the share of grey pixels, 0 colour to 1 grey: those whose channels lie within `GREY_SPREAD` once the mean tint of
    the image is taken off, as some infrared cameras tint all they see. `phash` are the 32 digits of imagehash's two
    hashes, of the low frequencies and of the gradients; see `duplicates`.
    """
    import cv2
    import imagehash

    luminance = image.convert("L")
    grey, colour = np.asarray(luminance), np.asarray(image)
    histogram = np.bincount(grey.ravel(), minlength=256)
    p1, p99 = np.searchsorted(histogram.cumsum() / grey.size, (0.01, 0.99))
    share = histogram[histogram > 0] / grey.size
    return {
        "width": image.width,
        "height": image.height,
        "aspect": image.height / image.width,
        "brightness": float(grey.mean()),
        "brightness_p1": float(p1),
        "brightness_p99": float(p99),
        "contrast": float(grey.std()),
        "entropy": float(-(share * np.log2(share)).sum()),
        "laplacian": float(cv2.Laplacian(grey, cv2.CV_32F).var()),
        "chroma": float(np.abs(colour.astype(np.int16) - grey[..., None]).mean()),
        "infrared_score": _grey_share(colour),
        "phash": f"{imagehash.phash(luminance)}{imagehash.dhash(luminance)}",
    }


def _grey_share(colour: npt.NDArray[np.uint8]) -> float:
    """Share of the pixels of [H, W, 3] whose channels differ by no more than the image's mean tint explains."""
    untinted = colour - colour.mean(axis=(0, 1), dtype=np.float32)
    return float((np.ptp(untinted, axis=2) <= GREY_SPREAD).mean())


def in_parallel(function: Callable[[Item], Row], items: Iterable[Item], *, workers: int | None = None) -> Iterator[Row]:
    """`function` of each item, in their order; few items are held at a time.

    Processes, as the measures of small crops hold Python's lock most of the time.
    """
    stream = iter(items)
    count = workers or os.cpu_count() or 1
    first = list(islice(stream, ALONE))
    if len(first) < ALONE or count == 1:
        yield from map(function, first)
        yield from map(function, stream)
        return
    # Not forked: a fork of a process in which torch has threads may hang.
    context = get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent) as pool:
        waiting: deque[Future[list[Row]]] = deque()
        everything = chain(first, stream)
        while batch := list(islice(everything, BATCH)):
            waiting.append(pool.submit(_each, function, batch))
            if len(waiting) > 2 * count:
                yield from waiting.popleft().result()
        for done in waiting:
            yield from done.result()


def _each(function: Callable[[Any], Row], batch: list[Any]) -> list[Row]:
    return [function(item) for item in batch]


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
