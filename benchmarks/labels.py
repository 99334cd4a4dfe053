"""What the choices of params.yaml do to pseudo-labels and cluster matches before any training.

    python benchmarks/labels.py      (in the project's folder, after `dvc pull`)

For each scenario, with and without camera centring: clusters, share of outliers and adjusted Rand index of both groups
against the hidden identities of the training images, and the precision and recall of the pairs of clusters that each
value of `heterogeneous.cluster_pairs` finds.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np

from itkm.config import read_settings
from itkm.data.evaluation import load_evaluation
from itkm.data.manifest import MANIFEST_FILE
from itkm.evaluation.quality import Group, cluster_match_quality, cluster_quality
from itkm.labelling.pseudo import pseudo_labels
from itkm.labelling.repairs import centre_per_camera
from itkm.matching.clusters import Pairs, cluster_similarity, match_clusters
from itkm.models.store import build_encoder
from itkm.stages.layout import Layout
from itkm.training.extraction import extract


def cluster_centres(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Means [C, D] of the clusters of features [N, D]."""
    return np.stack([features[labels == cluster].mean(axis=0) for cluster in range(labels.max() + 1)])


def main() -> None:
    """Prints a block for each scenario."""
    settings, layout = read_settings(Path("params.yaml")), Layout()
    encoder, _ = build_encoder(settings.model, settings.scenarios)
    encoder.scenario_scale = 0.0
    size = {"height": settings.model.height, "width": settings.model.width}
    for number, scenario in enumerate(settings.scenarios):
        folder = layout.data(scenario)
        images = load_evaluation(folder / MANIFEST_FILE, folder, **size, splits=("train",))
        features = extract(encoder, images.images, scenario=number, group=images.group)[0].numpy()
        for centring in (False, True):
            groups, centres = [], []
            for half, name in enumerate(images.group_names):
                rows = images.group == half
                vectors = centre_per_camera(features[rows], images.camera[rows]) if centring else features[rows]
                labels = pseudo_labels(vectors, settings.labelling)
                found = cluster_quality(labels, images.person[rows])
                print(
                    f"{scenario}/{name:10} centring {centring!s:5}  {found['clusters']:.0f} clusters, "
                    f"{100 * found['outliers']:.0f} % outliers, ARI {found['ari']:.2f}"
                )
                groups.append(Group(labels, images.person[rows]))
                centres.append(cluster_centres(vectors, labels))
            similarity = cluster_similarity(*centres, *centres, text_weight=0.0)
            for pairs in get_args(Pairs):
                first, second = match_clusters(similarity, pairs=pairs)
                quality = cluster_match_quality(*groups, partners_a=first, partners_b=second)
                print(
                    f"{scenario} {pairs:11} {quality['pairs']:.0f} pairs, precision {quality['precision']:.2f}, recall "
                    f"{quality['recall']:.2f}"
                )


if __name__ == "__main__":
    main()
