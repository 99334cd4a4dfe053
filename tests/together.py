"""Several processes on this machine, joined as `torchrun` would have them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from forked import forked
from itkm.training.distributed import together


def run_together(work: Callable[..., Any], folder: Path, *arguments: Any) -> list[Any]:
    """The results of `work`, tensors and plain values, in two processes that have joined; by rank."""

    def joined() -> Any:
        with together(torch.device("cpu")):
            return work(*arguments)

    return run_joined(joined, folder)


def run_joined(work: Callable[[], Any], folder: Path) -> list[Any]:
    """The results of `work` in two processes that can join, None where one ended without; by rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    files = [folder / f"rank{rank}.pt" for rank in (0, 1)]
    processes = [forked(_start, work, file, rank, port) for rank, file in enumerate(files)]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(300)
            assert process.exitcode == 0
    finally:
        for process in processes:
            process.kill()
    return [torch.load(file, weights_only=True) if file.exists() else None for file in files]


def _start(work: Callable[[], Any], file: Path, rank: int, port: int) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.save(work(), file)
