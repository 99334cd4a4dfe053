from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from itkm.ablation.epochs import epoch_rows
from itkm.data.manifest import COLUMNS
from itkm.errors import InputError
from itkm.files import replacing, write_csv, write_npz
from itkm.stages.layout import Layout

PERSONS = np.array([1, 1, 2, 2, 1, 1, 2, 2])
GROUP = np.array([0, 0, 0, 0, 1, 1, 1, 1])
RIGHT = np.array([0, 0, 1, 1, 1, 1, 0, 0])
MIXED = np.array([0, 0, 0, -1, 0, 1, 0, 1])


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Two epochs of each stage: the second finds the persons; only the last labels of Stage III are matched right."""
    layout = Layout(tmp_path)
    paths = np.array([f"c1/{number}.jpg" for number in range(8)])
    table = pd.DataFrame({"path": paths, "shard": "shards/c1.tar", "scenario": "mine", "camera": "c1"})
    table = table.assign(group=np.where(GROUP == 0, "day", "night"), split="train", person=PERSONS, clothes=-1)
    table = table.assign(resolution="", timestamp="", caption="", source=paths)[list(COLUMNS)]
    with replacing(layout.evaluation_table("mine")) as temporary:
        table.to_parquet(temporary, index=False)
    write_npz(layout.clusters("mine"), {"labels": RIGHT, "group": GROUP})
    early = {"epoch_labels": np.stack([MIXED, RIGHT]).astype(np.int32), "group": GROUP, "path": paths}
    write_npz(layout.homogeneous / "mine.npz", early)
    late = {
        **{"labels": RIGHT, "group": GROUP, "path": paths},
        **{"partner_0": np.array([1, 0]), "partner_1": np.array([1, 0])},
        "epoch_labels": np.stack([MIXED, RIGHT]).astype(np.int32),
        "epoch_partner_0": np.array([[0, -1], [0, 1]], dtype=np.int32),
        "epoch_partner_1": np.array([[0, -1], [0, 1]], dtype=np.int32),
    }
    write_npz(layout.heterogeneous / "mine.npz", late)
    for folder, further in ((layout.homogeneous, {}), (layout.heterogeneous, {"agreement": 0.5})):
        rows = [
            {"epoch": epoch, "scenario": "mine", "group": group, "stability": 0.1 * epoch, **further}
            for epoch in (1, 2)
            for group in ("day", "night")
        ]
        write_csv(folder / "history.csv", rows)
    return layout


def test_labels_and_matches_of_every_epoch_by_hand(layout: Layout) -> None:
    table = epoch_rows(layout, "mine").set_index(["stage", "epoch", "group"])
    assert len(table) == 2 * 3 * 2
    for stage in ("homogeneous", "heterogeneous"):
        assert table.loc[stage, 1, "day"]["purity"] == pytest.approx(2 / 3)
        assert table.loc[stage, 1, "day"]["outliers"] == 0.25
        assert table.loc[stage, 1, "night"]["purity"] == 0.5
        assert table.loc[stage].drop(index=1, level="epoch")["purity"].tolist() == [1] * 4
        assert table.loc[stage, 2, "night"]["stability"] == pytest.approx(0.2)
        assert np.isnan(table.loc[stage, 3, "night"]["stability"])
    matched = table.loc["heterogeneous"].xs("day", level="group")
    assert matched["match_precision"].tolist() == [
        1,
        0,
        1,
    ]  # cluster 0 of both groups is led by person 1, then by 1 and 2
    assert matched["match_recall"].tolist() == [1, 0, 1]
    assert table.loc["homogeneous"]["match_precision"].isna().all()
    assert table.loc["heterogeneous", 1, "day"]["agreement"] == 0.5


def test_without_labels_of_the_epochs_the_last_ones_are_there(layout: Layout) -> None:
    (layout.homogeneous / "mine.npz").unlink()
    with np.load(layout.heterogeneous / "mine.npz") as stored:
        write_npz(
            layout.heterogeneous / "mine.npz", {name: stored[name] for name in stored if not name.startswith("epoch")}
        )
    table = epoch_rows(layout, "mine")
    assert table["epoch"].tolist() == [3] * 4
    assert table["purity"].tolist() == [1] * 4
    assert table[table["stage"] == "heterogeneous"]["match_precision"].tolist() == [1, 1]


def test_unknown_identities_are_not_judged(layout: Layout) -> None:
    path = layout.evaluation_table("mine")
    pd.read_parquet(path).assign(person=-1).to_parquet(path, index=False)
    table = epoch_rows(layout, "mine")
    assert "purity" not in table
    assert table["match_precision"].isna().all()


def test_labels_of_other_images_are_refused(layout: Layout) -> None:
    path = layout.evaluation_table("mine")
    pd.read_parquet(path).iloc[::-1].to_parquet(path, index=False)
    with pytest.raises(InputError, match="of other images than the evaluation table"):
        epoch_rows(layout, "mine")
