"""The groups of a scenario: which name is group 0, which is group 1. Training needs both; reading may find one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from itkm.errors import InputError

GROUP_ORDER: dict[str, tuple[str, str]] = {
    "vi": ("visible", "infrared"),
    "cc": ("outfit-a", "outfit-b"),
    "cr": ("high", "low"),
}
# What groups are called whose images should be in colour, or grey.
VISIBLE_NAMES = frozenset({"visible", "rgb", "color", "colour"})
INFRARED_NAMES = frozenset({"infrared", "ir", "nir", "thermal"})


def order_groups(scenario: str, found: Iterable[str], *, file: Path) -> tuple[str, str]:
    """The names of group 0 and group 1, for training: in the order of `GROUP_ORDER` where it knows them, else sorted.

    Args:
        scenario: name of the scenario.
        found: the names that its images carry.
        file: named in errors.

    Raises:
        InputError: not exactly two groups.
    """
    names = sorted(set(found))
    if len(names) != 2:
        readable = " As it is, it can be embedded, searched and scored, but not trained on." if len(names) == 1 else ""
        raise InputError(
            f"{file}: scenario {scenario!r} has {len(names)} group(s) ({', '.join(names) or 'none'}), expected exactly "
            f"two. Import it with two groups, for instance --group high=cam1,cam2 --group low=cam3.{readable}"
        )
    known = GROUP_ORDER.get(scenario)
    if known is not None and sorted(known) == names:
        return known
    return names[0], names[1]


def name_groups(scenario: str, found: Iterable[str], *, file: Path) -> tuple[str, ...]:
    """The names of the groups, for reading: the one there is, or two as `order_groups` orders them.

    Raises:
        InputError: no group, or more than two.
    """
    names = set(found)
    return tuple(names) if len(names) == 1 else order_groups(scenario, names, file=file)


def codes(values: pd.Series[str], names: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """The place of each value in `names`: int64 [N]. Every value must be one of `names`."""
    return pd.Index(names).get_indexer(pd.Index(values)).astype(np.int64)


def only_scenario(values: pd.Series[str], *, file: Path) -> str:
    """The one scenario that all rows name.

    Raises:
        InputError: no row, or several scenarios.
    """
    names = sorted(values.unique())
    if len(names) != 1:
        raise InputError(
            f"{file}: rows of {len(names)} scenarios ({', '.join(names) or 'none'}), expected one in each folder. "
            "Import each scenario into a folder of its own."
        )
    return str(names[0])
