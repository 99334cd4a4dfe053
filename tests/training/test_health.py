from __future__ import annotations

import logging
import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array
from sklearn.metrics import silhouette_score

from itkm.labelling.pseudo import label_graph, labels_of, pseudo_labels
from itkm.labelling.settings import LabellingSettings
from itkm.training.health import (
    agreement,
    best_partners,
    cycle_consistency,
    signs_of_collapse,
    silhouette,
    stability,
    warn_of_collapse,
)

some_labels = arrays(np.int64, 12, elements=st.integers(-1, 3))


def rand_index(first: np.ndarray, second: np.ndarray) -> float:
    """The adjusted Rand index from its definition: pairs of images, counted one by one."""
    pairs = list(combinations(range(len(first)), 2))
    together = [(first[i] == first[j], second[i] == second[j]) for i, j in pairs]
    one, other, both = sum(a for a, _ in together), sum(b for _, b in together), sum(a and b for a, b in together)
    expected, largest = one * other / len(pairs), (one + other) / 2
    return 1.0 if largest == expected else (both - expected) / (largest - expected)


@given(some_labels, some_labels)
def test_stability_is_the_rand_index_of_what_is_clustered_twice(first: np.ndarray, second: np.ndarray) -> None:
    kept = [place for place in range(12) if first[place] >= 0 and second[place] >= 0]
    found = stability(first, second)
    if len(kept) < 2:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(rand_index(first[kept], second[kept]))


def test_stability_of_the_first_epoch_is_not_known_and_numbers_of_clusters_do_not_matter() -> None:
    labels = np.array([0, 0, 1, 1, -1, 2])
    assert math.isnan(stability(None, labels))
    assert stability(labels, np.array([5, 5, 0, 0, 3, 1])) == 1


def dense(graph: csr_array) -> np.ndarray:
    distances = 1 - graph.toarray()
    np.fill_diagonal(distances, 0)
    return distances


def random_graph(rng: np.random.Generator, count: int) -> csr_array:
    upper = np.triu(np.where(rng.random((count, count)) < 0.3, rng.uniform(0.4, 1, (count, count)), 0), 1)
    return csr_array(upper + upper.T)


@pytest.mark.parametrize("seed", range(20))
def test_silhouette_is_that_of_the_dense_distances(seed: int) -> None:
    """Every pair outside the graph at distance 1; outliers and images alone in their cluster among them."""
    rng = np.random.default_rng(seed)
    graph = random_graph(rng, 40)
    labels = np.unique(rng.integers(-1, rng.integers(3, 25), 40), return_inverse=True)[1] - 1
    kept = labels >= 0
    expected = silhouette_score(dense(graph)[np.ix_(kept, kept)], labels[kept], metric="precomputed")
    assert silhouette(graph, labels) == pytest.approx(expected)


def test_silhouette_of_the_labellings_own_graph() -> None:
    """Tight bundles are apart; the same images with wrong labels are not."""
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(6, 16)), 10, axis=0) + 0.2 * rng.normal(size=(60, 16))
    settings = LabellingSettings(k1=8, k2=2, eps=0.7, min_samples=2)
    graph = label_graph(features, settings)
    labels = labels_of(graph, settings)
    assert np.array_equal(labels, pseudo_labels(features, settings))
    assert silhouette(graph, labels) > 0.3
    assert silhouette(graph, rng.permutation(labels)) < 0.05


def test_silhouette_of_duplicates_and_of_one_cluster() -> None:
    same = csr_array(1 - np.eye(4))
    assert silhouette(same, np.array([0, 0, 1, 1])) == 0
    assert math.isnan(silhouette(same, np.zeros(4, dtype=np.int64)))
    assert math.isnan(silhouette(same, np.full(4, -1)))
    apart = csr_array(np.kron(np.eye(2), np.ones((2, 2))) - np.eye(4))
    assert silhouette(apart, np.array([0, 0, 1, 1])) == 1


def test_cycles_by_hand() -> None:
    assert cycle_consistency(np.array([1, 0, 1, -1]), np.array([1, 0])) == 2 / 4
    assert cycle_consistency(np.array([0, 1]), np.array([0, 1, 1])) == 1
    assert math.isnan(cycle_consistency(np.array([], dtype=np.int64), np.array([-1])))


@given(arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(0, 5)), elements=st.floats(-1, 1, width=32)))
def test_best_partners_of_any_shape(similarity: np.ndarray) -> None:
    first, second = best_partners(similarity)
    assert (len(first), len(second)) == similarity.shape
    for partners, rows in ((first, similarity), (second, similarity.T)):
        for partner, row in zip(partners, rows, strict=True):
            assert partner == (-1 if not len(row) else min(place for place, own in enumerate(row) if own == max(row)))
    assert cycle_consistency(first, second) > 0 or not similarity.size


@pytest.mark.parametrize("seed", range(5))
def test_agreement_counts_clusters_whose_two_best_are_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image_a, image_b = rng.normal(size=(9, 6)), rng.normal(size=(4, 6))
    text_a, text_b = rng.normal(size=(9, 3)), rng.normal(size=(4, 3))

    def best(row: np.ndarray, shown: np.ndarray) -> int:
        return max(range(len(shown)), key=lambda place: row @ shown[place] / np.linalg.norm(shown[place]))

    right = sum(best(image_a[own], image_b) == best(text_a[own], text_b) for own in range(9))
    assert agreement(image_a, image_b, text_a, text_b) == pytest.approx(right / 9)
    assert agreement(image_a, image_b, image_a, image_b) == 1
    assert math.isnan(agreement(image_a[:0], image_b, text_a[:0], text_b))
    assert math.isnan(agreement(image_a, image_b[:0], text_a, text_b[:0]))


def row(epoch: int, group: str = "day", **values: float) -> dict[str, object]:
    sound = {"clusters": 100, "outliers": 0.2, "stability": 0.8, "silhouette": 0.4}
    return {"epoch": epoch, "scenario": "mine", "group": group, **sound, **values}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"clusters": 49}, "clusters fell to 49 from 100: persons merge. Lower labelling.eps"),
        ({"outliers": 0.7}, "70 % of the images are in no cluster and teach nothing. Raise labelling.eps"),
        ({"stability": 0.2}, "clusters change from epoch to epoch (stability 0.20)"),
        ({"silhouette": -0.1}, "clusters overlap (silhouette -0.10)"),
    ],
)
def test_each_sign_of_collapse_names_group_and_remedy(
    values: dict[str, float], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    history = [row(1), row(1, "night"), row(2), row(2, "night", **values)]
    with caplog.at_level(logging.WARNING):
        warn_of_collapse(history)
    (message,) = caplog.messages
    assert message.startswith(f"mine/night: {said}")


def test_sound_epochs_and_old_signs_are_not_warned_of() -> None:
    recovered = [row(1, outliers=0.9, stability=float("nan")), row(2)]
    assert signs_of_collapse(recovered) == []
    unmeasured = [{name: value for name, value in row(1).items() if name not in ("stability", "silhouette")}]
    assert signs_of_collapse(unmeasured) == []


def test_another_group_with_more_clusters_is_no_sign() -> None:
    assert signs_of_collapse([row(1, clusters=40), row(1, "night", clusters=200)]) == []
