"""How far long work is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

INTERVAL = 30.0
"""Seconds from line to line."""

logger = logging.getLogger(__name__)


def progress(items: Iterable[Item], *, total: int, title: str, unit: str = "it") -> Iterable[Item]:
    """The items, and meanwhile a bar on a terminal or a line every half minute; nothing for what takes a moment.

    Of several processes only the first, by `torchrun`'s numbers, tells.

    Args:
        items: what the caller loops over.
        total: how many there are.
        title: what is done to them.
        unit: what one of them is called.
    """
    if os.environ.get("RANK", "0") != "0":
        return items
    if not sys.stderr.isatty():
        return _in_lines(items, total, title)
    from tqdm import tqdm

    bar: Iterable[Item] = tqdm(items, total=total, desc=title, unit=unit, leave=False, delay=0.5)
    return bar


def _in_lines(items: Iterable[Item], total: int, title: str) -> Iterator[Item]:
    told = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - told >= INTERVAL:
            logger.info("%s: %d of %d", title, done, total)
            told = time.monotonic()
        yield item
