"""Which clusters the rules of CHM match, and what matched instances (IHM) add to that.

    python benchmarks/matches.py      (in the project's folder, after `dvc repro`)

For each scenario, judged by the hidden identities: the pairs of clusters that each value of
`heterogeneous.cluster_pairs` finds where Stage III begins, with precision and recall; and after it IHM's pairs in three
kinds - those that lie in two matched clusters, those of clusters that are not matched, and those with an outlier - with
the share that shows one person.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from itkm.config import Settings, read_settings
from itkm.data.manifest import COLUMNS, read_table
from itkm.evaluation.quality import Group, cluster_match_quality
from itkm.labelling.repairs import centre_per_camera
from itkm.matching.clusters import Pairs
from itkm.stages.evaluate import judge_matches
from itkm.stages.heterogeneous import load_offline, match_group_clusters
from itkm.stages.inputs import load_scenarios
from itkm.stages.layout import Layout
from itkm.training.groups import split_groups


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


def persons_of(layout: Layout, scenario: str) -> np.ndarray:
    """Hidden identities of a scenario's training images, in the order of their labels."""
    table = read_table(layout.evaluation_table(scenario), COLUMNS)
    return table.loc[table["split"] == "train", "person"].to_numpy(dtype=np.int64)


def first_matches(settings: Settings, layout: Layout) -> Iterator[str]:
    """A line for each scenario and rule: the pairs of Stage I's clusters."""
    groups = split_groups(load_scenarios(settings, layout))
    offline = load_offline(settings, layout, groups)
    labels = [own.labels for own in offline]
    features = []
    for group in groups:
        with np.load(layout.features(settings.scenarios[group.scenario]), allow_pickle=False) as stored:
            vectors = stored["features"][group.rows]
        centred = settings.heterogeneous.match_centring
        features.append(torch.from_numpy(centre_per_camera(vectors, group.camera) if centred else vectors))
    for number, scenario in enumerate(settings.scenarios):
        pair, persons = (2 * number, 2 * number + 1), persons_of(layout, scenario)
        judged = [Group(labels[own], persons[groups[own].rows]) for own in pair]
        for rule in get_args(Pairs):
            options = settings.heterogeneous.model_copy(update={"cluster_pairs": rule})
            partners = [match_group_clusters(way, features, labels, offline, options)[0] for way in (pair, pair[::-1])]
            found = cluster_match_quality(*judged, partners_a=partners[0], partners_b=partners[1])
            yield (
                f"{scenario:4} {rule:11} {found['pairs']:3.0f} pairs, precision {found['precision']:.2f}, recall "
                f"{found['recall']:.2f}"
            )


def instance_matches(settings: Settings, layout: Layout) -> Iterator[str]:
    """A line for each scenario and kind of IHM's pairs."""
    for scenario in settings.scenarios:
        with np.load(layout.heterogeneous / f"{scenario}.npz", allow_pickle=False) as stored:
            arrays = dict(stored)
        persons = persons_of(layout, scenario)
        for name, chosen in kinds(arrays).items():
            precision = judge_matches({**arrays, "pairs": arrays["pairs"][chosen]}, persons)["ihm"]["precision"]
            right = "" if precision is None else f"{100 * precision:3.0f} % right"
            yield f"{scenario:4} {name:20} {chosen.sum():5} pairs, {100 * chosen.mean():3.0f} %  {right}"


def main() -> None:
    """Prints both."""
    settings, layout = read_settings(Path("params.yaml")), Layout()
    print("CHM, before the first step of Stage III", *first_matches(settings, layout), sep="\n")
    print("IHM, after Stage III", *instance_matches(settings, layout), sep="\n")


if __name__ == "__main__":
    main()
