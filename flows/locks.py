"""A lock between processes that the kernel frees when its holder ends, however that is."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from itkm.errors import InputError


@contextlib.contextmanager
def alone(lock: Path, *, patient: bool = False) -> Iterator[None]:
    """Holds a lock.

    Args:
        lock: a file, made if it is not there; its time becomes that of the last use.
        patient: wait for it.

    Raises:
        InputError: another process holds it, and we are not patient.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX if patient else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{lock}: held by another process. Wait for it, or cancel it.") from error
        lock.touch()
        yield
