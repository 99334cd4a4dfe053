from __future__ import annotations

import numpy as np
import pytest

from itkm.errors import InputError
from itkm.matching.texts import cluster_texts, instance_texts

TEXTS = np.array([[3, 0, 0], [0, 1, 0]], dtype=np.float32)


def test_instances_take_the_text_of_their_stage_two_cluster_as_a_unit_vector() -> None:
    images = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    texts = instance_texts(np.array([1, 0, 0, 1]), TEXTS, images)
    assert texts.tolist() == [[0, 1, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert texts.dtype == np.float32


def test_an_outlier_takes_the_text_nearest_to_its_image_by_cosine() -> None:
    # By the raw product the long first text would win for both.
    images = np.array([[1, 2, 0], [2, 1, 5], [0, 0, 1]], dtype=np.float32)
    labels = np.array([-1, -1, 1])
    assert instance_texts(labels, TEXTS, images).tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0]]
    assert labels.tolist() == [-1, -1, 1]


def test_texts_follow_the_newest_labels() -> None:
    """Cluster 0 and half of cluster 1 merge; the other half stands alone; one instance became an outlier."""
    texts = instance_texts(np.array([0, 0, 1, 1, 0]), TEXTS, np.zeros((5, 3), dtype=np.float32))
    renewed = cluster_texts(texts, np.array([1, 1, 1, 0, -1]))
    assert np.allclose(renewed, [[0, 1, 0], np.array([2, 1, 0]) / 5**0.5])
    assert renewed.dtype == np.float32


def test_without_clusters_there_are_no_texts() -> None:
    assert cluster_texts(TEXTS, np.array([-1, -1])).shape == (0, 3)


def test_opposite_texts_give_zero_and_not_nan() -> None:
    assert cluster_texts(np.array([[1, 0], [-1, 0]], dtype=np.float32), np.array([0, 0])).tolist() == [[0, 0]]


def test_labels_that_are_not_dense_are_named() -> None:
    with pytest.raises(InputError, match="every number from 0 to 2, but 1 is missing"):
        cluster_texts(np.ones((2, 3), dtype=np.float32), np.array([0, 2]))


@pytest.mark.parametrize(
    ("labels", "texts", "images", "message"),
    [
        ([0, 2], TEXTS, np.ones((2, 3)), "expected -1 to 1 for 2 offline texts, found 0 to 2"),
        ([0, 1], TEXTS, np.ones((3, 3)), r"expected shape \(2, 3\)"),
        ([0, 1], TEXTS, np.ones((2, 4)), r"expected shape \(2, 3\)"),
        ([-1], TEXTS[:0], np.ones((1, 3)), "at least one row"),
    ],
)
def test_what_does_not_fit_is_named(labels: list[int], texts: np.ndarray, images: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        instance_texts(np.array(labels), texts, images.astype(np.float32))


def test_lengths_that_differ_are_named() -> None:
    with pytest.raises(InputError, match=r"one row per label \(3\), found 2"):
        cluster_texts(TEXTS, np.array([0, 0, 0]))
