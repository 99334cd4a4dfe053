"""The opening of every epoch of Stages I and III: extract features, then label each group on its own [paper]."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from itkm.errors import InputError
from itkm.labelling.pseudo import label_graph, labels_of
from itkm.labelling.repairs import appearance_prior, centre_per_camera, with_prior
from itkm.labelling.settings import LabellingSettings
from itkm.models.encoder import Encoder
from itkm.training.extraction import extract
from itkm.training.groups import Group, Integers
from itkm.training.health import silhouette

COLLAPSE_SHARE = 0.9  # with more outliers than this, an epoch learns from too few images to be trusted

logger = logging.getLogger(__name__)


def extract_groups(encoder: Encoder, groups: Sequence[Group]) -> tuple[list[Tensor], list[Tensor]]:
    """Unit features [N, D] and projections [N, E] of every group's images."""
    features, projected = [], []
    for group in groups:
        numbers = np.full(len(group.images), group.group, dtype=np.int64)
        outputs = extract(encoder, group.images, scenario=group.scenario, group=numbers)
        features.append(outputs[0])
        projected.append(outputs[1])
    return features, projected


def label_groups(
    features: Sequence[Tensor],
    groups: Sequence[Group],
    settings: LabellingSettings,
    *,
    camera_centring: bool,
    prior_weight: float = 0.0,
) -> tuple[list[Integers], list[float]]:
    """Pseudo-labels int64 [N] of every group, dense from 0, -1 = outlier; and their silhouettes.

    Args:
        features: unit features of the groups.
        groups: the groups, for their cameras and images.
        settings: neighbours, distance and clustering.
        camera_centring: subtract each camera's mean feature first [ours; a repair of a weak start].
        prior_weight: weight of a striped colour histogram in the similarity [ours; a repair of a weak start].

    Raises:
        InputError: no group has two clusters, so that there is nothing to learn from; or a group has too few images.
    """
    labels, silhouettes = [], []
    for own, group in zip(features, groups, strict=True):
        vectors = own.numpy()
        if camera_centring:
            vectors = centre_per_camera(vectors, group.camera)
        if prior_weight > 0:
            vectors = with_prior(vectors, appearance_prior(group.images), weight=prior_weight)
        try:
            graph = label_graph(vectors, settings)
        except InputError as error:
            raise InputError(f"{group.name}: {error}") from error
        labels.append(labels_of(graph, settings))
        silhouettes.append(silhouette(graph, labels[-1]))
    _require_clusters(labels, groups, settings)
    return labels, silhouettes


def outlier_share(labels: Integers) -> float:
    """Share of the images that belong to no cluster."""
    return float((labels < 0).mean()) if len(labels) else 0.0


def count_clusters(labels: Integers) -> int:
    """Number of clusters of dense labels."""
    return int(labels.max(initial=-1)) + 1


def _require_clusters(labels: Sequence[Integers], groups: Sequence[Group], settings: LabellingSettings) -> None:
    for own, group in zip(labels, groups, strict=True):
        clusters, share = count_clusters(own), outlier_share(own)
        if clusters < 2 or share > COLLAPSE_SHARE:
            logger.warning(
                "%s: labels collapse: %d clusters, %.0f %% of %d images are outliers (eps %g, min_samples %d)",
                *(group.name, clusters, 100 * share, len(own), settings.eps, settings.min_samples),
            )
    if all(count_clusters(own) < 2 for own in labels):
        counts = ", ".join(
            f"{group.name}: {count_clusters(own)} clusters, {100 * outlier_share(own):.0f} % outliers"
            for own, group in zip(labels, groups, strict=True)
        )
        raise InputError(
            f"no group has two clusters, so there is nothing to learn from ({counts}). Outliers only: raise "
            "labelling.eps or lower labelling.min_samples in params.yaml; one cluster: lower labelling.eps or k1."
        )


def describe(groups: Sequence[Group], labels: Sequence[Integers]) -> str:
    """Clusters and outliers of each group, for an epoch's line."""
    return ", ".join(
        f"{group.name} {count_clusters(own)} clusters {100 * outlier_share(own):.0f} % outliers"
        for group, own in zip(groups, labels, strict=True)
    )
