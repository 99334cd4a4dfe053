"""Device, random numbers and progress of a training stage."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

import numpy as np
import torch
from tqdm import tqdm

from itkm.errors import InputError

Item = TypeVar("Item")


def resolve_device(name: str) -> torch.device:
    """`auto` is a GPU where there is one.

    Raises:
        InputError: a GPU was asked for and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device: {name!r}, but torch sees no GPU. Set `device: auto` or `cpu` in params.yaml.")
    return torch.device(name)


def numpy_generator(*seed: int) -> np.random.Generator:
    """A generator of its own for each (seed, stage, epoch, ...)."""
    return np.random.default_rng(seed)


def torch_generator(*seed: int) -> torch.Generator:
    """The same for torch."""
    state = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def progress(items: Iterable[Item], *, total: int, title: str) -> Iterable[Item]:
    """A progress bar on a terminal; elsewhere nothing, as each epoch logs a line."""
    return tqdm(items, total=total, desc=title, leave=False, disable=not sys.stderr.isatty())
