from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from itkm.training.batches import epoch_steps, identity_batches


def draw(labels: list[int], *, P: int, K: int, steps: int, seed: int = 0) -> NDArray[np.int64]:  # noqa: N803
    rng = np.random.default_rng(seed)
    return identity_batches(np.array(labels, dtype=np.int64), identities=P, instances=K, steps=steps, rng=rng)


LABELS = [0, 0, 0, 1, -1, 2, 2, 2, 2, 2, -1, 3, 3, 4, 4, 4, 4]  # cluster 1 is a singleton


@pytest.mark.parametrize(("P", "K"), [(2, 2), (3, 4), (5, 3), (4, 1)])
def test_every_row_is_p_clusters_of_k_and_holds_no_outlier(P: int, K: int) -> None:  # noqa: N803
    labels = np.array(LABELS)
    batches = draw(LABELS, P=P, K=K, steps=40)
    assert batches.shape == (40, P * K)
    drawn = labels[batches].reshape(40, P, K)
    assert (drawn >= 0).all()
    assert (drawn == drawn[:, :, :1]).all()  # a singleton does not shift the rows behind it
    assert all(len(set(row)) == P for row in drawn[:, :, 0].tolist())


@pytest.mark.parametrize("P", [2, 3, 4, 5])
def test_clusters_are_seen_equally_often(P: int) -> None:  # noqa: N803
    """At any time the counts differ by one at most, also where P does not divide the number of clusters."""
    for seed in range(5):
        drawn = np.array(LABELS)[draw(LABELS, P=P, K=1, steps=50, seed=seed)]
        for steps in range(1, 51):
            counts = np.bincount(drawn[:steps].ravel(), minlength=5)
            assert counts.max() - counts.min() <= 1


def test_members_repeat_only_where_there_are_too_few_and_then_evenly() -> None:
    batches = draw(LABELS, P=5, K=4, steps=30).reshape(30, 5, 4)
    members = np.bincount([label for label in LABELS if label >= 0])
    for cluster_rows in batches.reshape(-1, 4):
        size = members[LABELS[cluster_rows[0]]]
        counts = np.unique(cluster_rows, return_counts=True)[1]
        assert len(counts) == min(4, size)
        assert counts.max() <= -(-4 // size)


def test_fewer_clusters_than_asked_for_gives_all_of_them() -> None:
    labels = [0, 1, 0, 1, -1]
    batches = draw(labels, P=8, K=3, steps=7)
    assert batches.shape == (7, 6)
    assert all(set(row) == {0, 1} for row in np.array(labels)[batches].tolist())


@pytest.mark.parametrize("labels", [[], [-1, -1, -1]])
def test_without_clusters_the_batches_are_empty(labels: list[int]) -> None:
    assert draw(labels, P=2, K=2, steps=3).shape == (3, 0)


def test_same_seed_same_batches() -> None:
    assert (draw(LABELS, P=3, K=2, steps=9, seed=4) == draw(LABELS, P=3, K=2, steps=9, seed=4)).all()
    assert (draw(LABELS, P=3, K=2, steps=9, seed=4) != draw(LABELS, P=3, K=2, steps=9, seed=5)).any()


@pytest.mark.parametrize(
    ("counts", "batch", "steps"), [([10, 64, 3], 16, 4), ([63], 16, 3), ([5], 16, 1), ([0, 0], 16, 1), ([], 16, 1)]
)
def test_an_epoch_sees_the_largest_group_once(counts: list[int], batch: int, steps: int) -> None:
    assert epoch_steps(counts, batch=batch) == steps
