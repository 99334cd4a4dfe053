"""What matched instances (IHM) add to matched clusters (CHM) after a training.

    python benchmarks/matches.py      (in the project's folder, after `dvc repro`)

For each scenario: IHM's pairs in three kinds - those that lie in two matched clusters, those of clusters that are not
matched, and those with an outlier - with the share that shows one person, by the hidden identities.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from itkm.config import read_settings
from itkm.data.manifest import COLUMNS, read_table
from itkm.stages.evaluate import judge_matches
from itkm.stages.layout import Layout


def kinds(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Which pairs [N] are of which kind, from what Stage III leaves of a scenario."""
    first, second = (arrays["labels"][column] for column in arrays["pairs"].T)
    partner = [np.append(arrays[f"partner_{number}"], -1) for number in (0, 1)]  # the last one is an outlier's
    clustered = (first >= 0) & (second >= 0)
    matched = clustered & ((partner[0][first] == second) | (partner[1][second] == first))
    return {
        "all": np.ones_like(clustered),
        "in matched clusters": matched,
        "in others": clustered & ~matched,
        "with an outlier": ~clustered,
    }


def main() -> None:
    """Prints a line for each scenario and kind."""
    layout = Layout()
    for scenario in read_settings(Path("params.yaml")).scenarios:
        table = read_table(layout.evaluation_table(scenario), COLUMNS)
        persons = table.loc[table["split"] == "train", "person"].to_numpy(dtype=np.int64)  # in the order of the labels
        with np.load(layout.heterogeneous / f"{scenario}.npz", allow_pickle=False) as stored:
            arrays = dict(stored)
        for name, chosen in kinds(arrays).items():
            precision = judge_matches({**arrays, "pairs": arrays["pairs"][chosen]}, persons)["ihm"]["precision"]
            right = "" if precision is None else f"{100 * precision:3.0f} % right"
            print(f"{scenario:4} {name:20} {chosen.sum():5} pairs, {100 * chosen.mean():3.0f} %  {right}")


if __name__ == "__main__":
    main()
