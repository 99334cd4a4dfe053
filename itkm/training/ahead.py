"""The next batch is made ready while a GPU works on this one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
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
    source, stream, current = iter(batches), _side_stream(device), torch.cuda.current_stream(device)
    stream.wait_stream(current)  # the device may still use what an earlier call made, whose memory is free again

    def make() -> tuple[Batch, torch.cuda.Event] | None:
        with torch.cuda.stream(stream):
            for batch in source:
                return batch, stream.record_event()
        return None

    with ThreadPoolExecutor(1) as thread:
        coming, before = thread.submit(make), None
        while made := coming.result():
            batch, ready = made
            current.wait_event(ready)
            coming = thread.submit(make)
            yield batch
            # What is made next may take the memory of the batch before, which is therefore kept until the device is
            # done with it. To wait for this batch would hold up the next one, which is being made.
            if before:
                stream.wait_event(before[1])
            before = batch, current.record_event()


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all calls: each stream has memory of its own, which the allocator keeps for it."""
    return torch.cuda.Stream(device)
