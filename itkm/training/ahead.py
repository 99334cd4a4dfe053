"""The next batch is made ready while a GPU works on this one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Batch = TypeVar("Batch")


def ahead(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """The same batches; for a GPU each is made by a thread, on a stream of its own, while the one before is in use.

    On a CPU, whose cores are all at work, a batch is made when it is asked for.
    """
    if device.type != "cuda":
        yield from batches
        return
    source, stream = iter(batches), torch.cuda.Stream(device)

    def make() -> tuple[Batch, torch.cuda.Event] | None:
        with torch.cuda.stream(stream):
            for batch in source:
                return batch, stream.record_event()
        return None

    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(make)
        while made := coming.result():
            batch, ready = made
            torch.cuda.current_stream(device).wait_event(ready)
            coming = thread.submit(make)
            yield batch
            # What comes next may take this batch's memory: not before the device is done with it.
            stream.wait_stream(torch.cuda.current_stream(device))
