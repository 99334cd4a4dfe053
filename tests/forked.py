"""A copy of the test's process that does one thing and ends there."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from typing import Any


def forked(work: Callable[..., None], *arguments: Any) -> ForkProcess:
    """A process, not yet started, that does some work; its exit code is 0 if and only if nothing is raised.

    It ends at once: what else was imported here before, such as Prefect with its threads, would try to end what only
    its parent has.
    """
    return multiprocessing.get_context("fork").Process(target=_work, args=(work, *arguments))


def _work(work: Callable[..., None], *arguments: Any) -> None:
    work(*arguments)
    os._exit(0)
