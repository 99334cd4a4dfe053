from __future__ import annotations

import pandas as pd
import pytest

from itkm.data.evaluation import camera_numbers


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["c1", "c15", "c2", "c1"], [1, 15, 2, 1]),
        (["cam06", "cam03"], [6, 3]),
        (["B", "A", "C", "A"], [2, 1, 3, 1]),
        (["vi-c1", "ir-c1", "vi-c2"], [2, 1, 3]),  # the digits are not distinct: places among ir-c1, vi-c1, vi-c2
        (["c7", "door"], [1, 2]),
        (["c1", "c01"], [2, 1]),
        (["x99999999999999999999", "x2"], [2, 1]),  # more than int64 holds
        (["only"], [1]),
        ([], []),
    ],
)
def test_a_camera_has_its_published_number_or_its_place(names: list[str], numbers: list[int]) -> None:
    found = camera_numbers(pd.DataFrame({"camera": pd.Series(names, dtype=str), "split": "query"}))
    assert found.tolist() == numbers
    assert found.dtype == "int64"


@pytest.mark.parametrize("new", ["back-door", "gate-2", "c1x"])
def test_a_camera_that_only_training_sees_renumbers_no_other(new: str) -> None:
    table = pd.DataFrame({"camera": ["c1", "c3", "c2", "c6"], "split": ["train", "query", "gallery", "gallery"]})
    table.loc[0, "camera"] = new
    assert camera_numbers(table).tolist() == [7, 3, 2, 6]


def test_what_is_never_scored_is_numbered_as_ever() -> None:
    assert camera_numbers(pd.DataFrame({"camera": ["c4", "c2"], "split": "train"})).tolist() == [4, 2]
