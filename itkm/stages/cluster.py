"""The pseudo-labels that Stage II learns its prompts for: Stage I's final clusters."""

from __future__ import annotations

import logging

import numpy as np

from itkm.config import Settings
from itkm.errors import InputError
from itkm.files import write_npz
from itkm.labelling.pseudo import pseudo_labels
from itkm.labelling.repairs import centre_per_camera
from itkm.stages.layout import Layout

logger = logging.getLogger(__name__)


def run(settings: Settings, layout: Layout, scenario: str) -> None:
    """Writes `artifacts/clusters/<scenario>.npz`: `labels` int64 [N], dense from 0 within each group, and `group`."""
    with np.load(layout.features(scenario), allow_pickle=False) as stored:
        features, group, camera = stored["features"], stored["group"], stored["camera"]
    labels = np.full(len(features), -1, dtype=np.int64)
    for number in (0, 1):
        rows = np.flatnonzero(group == number)
        vectors = features[rows]
        if settings.homogeneous.camera_centring:
            vectors = centre_per_camera(vectors, camera[rows])
        try:
            labels[rows] = pseudo_labels(vectors, settings.labelling)
        except InputError as error:
            raise InputError(f"{scenario}, group {number}: {error}") from error
        clusters = int(labels[rows].max(initial=-1)) + 1
        logger.info(
            "cluster %s, group %d: %d images, %d clusters, %.0f %% outliers",
            *(scenario, number, len(rows), clusters, 100 * float((labels[rows] < 0).mean())),
        )
        if not clusters:
            raise InputError(
                f"{scenario}, group {number}: all {len(rows)} images are outliers, so that Stage II has no cluster to "
                "name. Raise labelling.eps or lower labelling.min_samples in params.yaml."
            )
    write_npz(layout.clusters(scenario), {"labels": labels, "group": group})
