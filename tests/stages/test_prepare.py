"""Stage `prepare`: where identities end, and what cannot be trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from itkm.config import Settings
from itkm.errors import InputError
from itkm.stages import prepare
from itkm.stages.layout import Layout

WriteTiny = Callable[..., pd.DataFrame]

BATCH = {"identities": 4, "instances": 4}
SETTINGS = Settings.model_validate({"scenarios": ["mine"], "homogeneous": BATCH, "heterogeneous": BATCH})


def test_training_gets_no_identity_and_evaluation_every_label(tmp_path: Path, write_tiny: WriteTiny) -> None:
    layout = Layout(tmp_path)
    manifest = write_tiny(layout.data("mine"))
    prepare.run(SETTINGS, layout, "mine")
    train = pd.read_parquet(layout.training_table("mine"))
    assert list(train.columns) == ["path", "shard", "scenario", "group", "camera"]
    ordered = manifest.sort_values(["camera", "path"], ignore_index=True)
    assert list(train["path"]) == list(ordered.loc[ordered["split"] == "train", "path"])
    pd.testing.assert_frame_equal(pd.read_parquet(layout.evaluation_table("mine")), ordered)


def test_no_data_says_what_to_type(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(InputError) as caught:
        prepare.run(SETTINGS, layout, "mine")
    assert f"itkm data import FORMAT PATH --scenario mine --out {layout.data('mine')}" in str(caught.value)
    assert "remove 'mine' from `scenarios`" in str(caught.value)


def test_fewer_images_than_a_batch(tmp_path: Path, write_tiny: WriteTiny) -> None:
    layout = Layout(tmp_path)
    write_tiny(layout.data("mine"), persons=3, images=5)  # 30 by day, 15 by night
    with pytest.raises(InputError, match="group 'night' has 15 training images, a batch has 16") as caught:
        prepare.run(SETTINGS, layout, "mine")
    assert "lower `identities` or `instances`" in str(caught.value)
    assert not layout.training_table("mine").parent.exists()


@pytest.mark.parametrize("groups", [{"day": ("c1", "c2")}, {"day": ("c1",), "night": ("c2",), "dusk": ("c3",)}])
def test_other_than_two_groups(tmp_path: Path, write_tiny: WriteTiny, groups: dict[str, tuple[str, ...]]) -> None:
    layout = Layout(tmp_path)
    write_tiny(layout.data("mine"), groups=groups)
    with pytest.raises(InputError, match=rf"scenario 'mine' has {len(groups)} group\(s\)"):
        prepare.run(SETTINGS, layout, "mine")


def test_data_of_another_name(tmp_path: Path, write_tiny: WriteTiny) -> None:
    layout = Layout(tmp_path)
    write_tiny(layout.data("yours"))
    layout.data("yours").rename(layout.data("mine"))
    with pytest.raises(InputError, match="its scenario is 'yours', but the folder's 'mine'"):
        prepare.run(SETTINGS, layout, "mine")
