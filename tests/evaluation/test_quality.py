from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from itkm.errors import InputError
from itkm.evaluation.quality import (
    Group,
    cluster_match_quality,
    cluster_quality,
    instance_match_quality,
    majority_persons,
)


@pytest.mark.parametrize("seed", range(30))
def test_agreement_equals_scikit_learn_over_what_is_known_and_clustered(seed: int) -> None:
    generator = np.random.default_rng(seed)
    count = int(generator.integers(2, 60))
    labels = generator.integers(-1, generator.integers(1, 6), size=count)
    persons = generator.integers(-1, generator.integers(1, 6), size=count)
    judged = (labels >= 0) & (persons >= 0)
    quality = cluster_quality(labels, persons)
    assert quality["outliers"] == pytest.approx((labels == -1).mean())
    assert quality["clusters"] == len(set(labels[labels >= 0].tolist()))
    if judged.any():
        assert quality["nmi"] == pytest.approx(normalized_mutual_info_score(persons[judged], labels[judged]), abs=1e-9)
        assert quality["ari"] == pytest.approx(adjusted_rand_score(persons[judged], labels[judged]), abs=1e-9)
        right = sum(
            np.unique(persons[judged & (labels == label)], return_counts=True)[1].max()
            for label in np.unique(labels[judged])
        )
        assert quality["purity"] == pytest.approx(right / judged.sum())
    else:
        assert np.isnan([quality["purity"], quality["nmi"], quality["ari"]]).all()


def test_perfect_clusters_and_one_cluster_of_all() -> None:
    persons = np.array([4, 4, 9, 9])
    assert cluster_quality(np.array([1, 1, 0, 0]), persons) == pytest.approx(
        {"clusters": 2, "outliers": 0, "purity": 1, "nmi": 1, "ari": 1}
    )
    assert cluster_quality(np.zeros(4, dtype=np.int64), persons) == pytest.approx(
        {"clusters": 1, "outliers": 0, "purity": 0.5, "nmi": 0, "ari": 0}
    )


def test_without_identities_only_what_needs_none() -> None:
    assert cluster_quality(np.array([0, -1, 0, 1]), None) == {"clusters": 2, "outliers": 0.25}
    assert cluster_quality(np.array([], dtype=np.int64), None) == {"clusters": 0, "outliers": 0}
    assert np.isnan(cluster_quality(np.array([0, -1]), np.array([-1, 3]))["purity"])


def test_majority_prefers_the_smallest_at_a_tie_and_ignores_unknowns() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2, -1, 3, 3])
    persons = np.array([7, 3, 7, 9, 4, -1, 4, -1, 2])
    assert majority_persons(labels, persons).tolist() == [7, 4, -1, 2]


def test_cluster_matches_by_hand() -> None:
    """Persons 1, 2, 3 lead clusters in both groups, 4 only in the first, 5 only in the second."""
    group_a = Group(labels=np.array([0, 1, 2, 3]), persons=np.array([1, 2, 3, 4]))
    group_b = Group(labels=np.array([0, 1, 2, 3, 4]), persons=np.array([2, 1, 3, 5, 1]))
    quality = cluster_match_quality(
        group_a, group_b, partners_a=np.array([1, 3, -1, 0]), partners_b=np.array([3, 0, -1, 1, 0])
    )
    # Pairs: (1,1) right in both directions, (2,5) wrong in both, (4,2) wrong in both, (1,1 of cluster 4) right.
    assert quality == pytest.approx({"pairs": 4, "precision": 2 / 4, "recall": 1 / 3})


def test_cluster_matches_of_nobody_or_of_unknowns_are_not_judged() -> None:
    empty = Group(labels=np.array([-1, -1]), persons=np.array([1, 2]))
    nothing = np.array([], dtype=np.int64)
    quality = cluster_match_quality(empty, empty, partners_a=nothing, partners_b=nothing)
    assert quality["pairs"] == 0
    assert np.isnan([quality["precision"], quality["recall"]]).all()
    unknown = Group(labels=np.array([0]), persons=np.array([-1]))
    one = np.array([0])
    assert np.isnan(cluster_match_quality(unknown, unknown, partners_a=one, partners_b=one)["precision"])


def test_instance_matches_by_hand() -> None:
    persons_a, persons_b = np.array([1, 1, 2, -1]), np.array([1, 2, 2, 3, -1])
    pairs = np.zeros((4, 5), dtype=bool)
    pairs[[0, 0, 2, 3, 1], [0, 1, 2, 0, 4]] = True
    quality = instance_match_quality(csr_array(pairs), persons_a, persons_b)
    assert quality == pytest.approx({"pairs": 5, "precision": 2 / 3, "recall": 2 / 4})


def test_what_does_not_fit_is_named() -> None:
    one, group = np.array([0]), Group(labels=np.array([0, 1]), persons=np.array([1, 2]))
    with pytest.raises(InputError, match=r"one person per label \(1\), found 2"):
        cluster_quality(one, np.array([1, 2]))
    with pytest.raises(InputError, match="partners of 2 and 2 clusters, found 1 and 2"):
        cluster_match_quality(group, group, partners_a=one, partners_b=np.array([0, 1]))
    with pytest.raises(InputError, match=r"shape \(1, 2\), found \(3, 3\)"):
        instance_match_quality(csr_array((3, 3), dtype=bool), one, np.array([1, 2]))
