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
    found = camera_numbers(pd.Series(names, dtype=str))
    assert found.tolist() == numbers
    assert found.dtype == "int64"
