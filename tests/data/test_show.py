"""The contact sheet: a title a group and a line a camera, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from itkm.data.manifest import write_manifest
from itkm.data.shards import write_scenario
from itkm.data.show import CELL, GAP, TITLE_HEIGHT, contact_sheet
from itkm.errors import InputError

MakeImage = Callable[..., bytes]
MakeRow = Callable[..., dict[str, Any]]
Sound = tuple[Path, pd.DataFrame]


@pytest.mark.parametrize(("rows", "lines"), [(6, 4), (2, 4), (1, 2)])
def test_the_sheet_has_a_line_for_each_camera_up_to_the_limit(sound: Sound, rows: int, lines: int) -> None:
    folder, frame = sound
    sheet = contact_sheet(folder, rows=rows, seed=1)
    cameras = sum(min(rows, count) for count in frame.groupby("group")["camera"].nunique())
    assert sheet.height == 2 * TITLE_HEIGHT + cameras * (CELL[1] + GAP)
    assert cameras <= lines


def test_one_group_has_one_title(sound: Sound) -> None:
    folder, frame = sound
    write_manifest(frame.assign(group="visible"), folder)
    sheet = contact_sheet(folder, rows=6)
    assert sheet.height == TITLE_HEIGHT + frame["camera"].nunique() * (CELL[1] + GAP)


def test_the_same_seed_gives_the_same_sheet(sound: Sound) -> None:
    first, again, other = (np.asarray(contact_sheet(sound[0], rows=3, seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_folder_without_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no manifest here"):
        contact_sheet(tmp_path)


def test_a_broken_image_is_named_as_people_find_it(tmp_path: Path, make_image: MakeImage, make_row: MakeRow) -> None:
    rows = [make_row(source="mine/7.png"), make_row(camera="c2", group="infrared")]
    frame = write_scenario(zip(rows, (make_image()[:60], make_image()), strict=True), tmp_path)
    with pytest.raises(InputError, match=rf"{frame['path'][0]} from mine/7\.png: cannot be decoded"):
        contact_sheet(tmp_path)
