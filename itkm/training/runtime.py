"""Device and random numbers of a training stage."""

from __future__ import annotations

import ctypes
import sys

import numpy as np
import torch

from itkm.errors import InputError
from itkm.training.distributed import local_number

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h


def resolve_device(name: str) -> torch.device:
    """`auto` is a GPU where there is one; a CPU is prepared for training.

    Raises:
        InputError: a GPU was asked for and there is none, or none of its number.
    """
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device: {name!r}, but torch sees no GPU. Set `device: auto` or `cpu` in params.yaml.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":  # several processes have a GPU each
        name = f"cuda:{local_number()}"
    if name == "cpu":
        _keep_freed_memory()
    device = torch.device(name)
    if device.type == "cuda" and device.index >= (count := torch.cuda.device_count()):
        raise InputError(
            f"device: {name!r}, but torch sees {count} GPU(s), numbered from 0. Set `device` to one of them in "
            f"params.yaml; with torchrun set `device: auto` and start at most {count} process(es) on this machine."
        )
    return device


def _keep_freed_memory() -> None:
    """Lets glibc keep what a training step frees: given back and asked for anew, pages cost a third of the step."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other C libraries have no such call
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 64 << 20)):
            mallopt(option, value)


def mixed_precision(device: torch.device) -> torch.autocast:
    """bf16 on GPUs. Not on CPUs: measured there it is slower, many times so without bf16 units."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


def numpy_generator(*seed: int) -> np.random.Generator:
    """A generator of its own for each (seed, stage, epoch, ...)."""
    return np.random.default_rng(seed)


def torch_generator(*seed: int) -> torch.Generator:
    """The same for torch."""
    state = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
