from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from itkm.errors import InputError
from itkm.matching.clusters import TEMPERATURE, cluster_similarity, match_clusters, transport_plan, whitened

SHAPES = [(1, 1), (4, 4), (3, 5), (5, 3), (2, 7), (7, 2), (1, 6), (6, 1), (3, 6), (6, 3), (0, 3), (3, 0), (0, 0)]


def similarities(shape: tuple[int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-2, 2, size=shape).astype(np.float32)


def cheapest_assignment(cost: np.ndarray) -> dict[int, int]:
    """Row to column by trying all: at most as many rows as columns."""
    rows = range(len(cost))
    best = min(
        permutations(range(cost.shape[1]), len(cost)), key=lambda columns: sum(cost[i, columns[i]] for i in rows)
    )
    return dict(zip(rows, best, strict=True))


def progressive_by_force(similarity: np.ndarray) -> tuple[list[int], list[int]]:
    """Rounds of the cheapest assignment until every cluster of both sides has a partner."""
    if similarity.shape[0] > similarity.shape[1]:
        partners_b, partners_a = progressive_by_force(similarity.T)
        return partners_a, partners_b
    cost = np.exp(-similarity.astype(np.float64))
    first = cheapest_assignment(cost)
    partners_b = {b: a for a, b in first.items()}
    while len(partners_b) < cost.shape[1]:
        left = [b for b in range(cost.shape[1]) if b not in partners_b]
        if len(left) < len(cost):
            partners_b |= {left[i]: a for i, a in cheapest_assignment(cost[:, left].T).items()}
        else:
            partners_b |= {left[j]: a for a, j in cheapest_assignment(cost[:, left]).items()}
    return [first[a] for a in range(len(cost))], [partners_b[b] for b in range(cost.shape[1])]


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if 0 not in shape])
@pytest.mark.parametrize("seed", range(5))
def test_progressive_equals_trying_all_permutations(shape: tuple[int, int], seed: int) -> None:
    similarity = similarities(shape, seed)
    partners_a, partners_b = match_clusters(similarity)
    assert (partners_a.tolist(), partners_b.tolist()) == progressive_by_force(similarity)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_cluster_has_a_partner_in_every_shape(shape: tuple[int, int]) -> None:
    """Peers match nothing when the first group is the smaller, and crash when one has over twice the clusters."""
    partners_a, partners_b = match_clusters(similarities(shape, 0))
    assert (len(partners_a), len(partners_b)) == shape
    if 0 in shape:
        assert (partners_a == -1).all()
        assert (partners_b == -1).all()
    else:
        assert ((partners_a >= 0) & (partners_a < shape[1])).all()
        assert ((partners_b >= 0) & (partners_b < shape[0])).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_exchanging_the_groups_exchanges_the_partners(shape: tuple[int, int]) -> None:
    similarity = similarities(shape, 1)
    for pairs in ("progressive", "hungarian", "mutual", "transport"):
        forth, back = match_clusters(similarity, pairs=pairs), match_clusters(similarity.T, pairs=pairs)
        assert [x.tolist() for x in forth] == [x.tolist() for x in back[::-1]]


@pytest.mark.parametrize("shape", SHAPES)
def test_hungarian_is_the_first_round_alone(shape: tuple[int, int]) -> None:
    similarity = similarities(shape, 2)
    partners_a, partners_b = match_clusters(similarity, pairs="hungarian")
    assert (partners_a >= 0).sum() == (partners_b >= 0).sum() == min(shape)
    for a in np.flatnonzero(partners_a >= 0):
        assert partners_b[partners_a[a]] == a


@pytest.mark.parametrize("shape", SHAPES)
def test_mutual_keeps_exactly_the_pairs_that_are_each_others_best(shape: tuple[int, int]) -> None:
    similarity = similarities(shape, 3)
    partners_a, partners_b = match_clusters(similarity, pairs="mutual")
    expected = {
        (a, b)
        for a in range(shape[0])
        for b in range(shape[1])
        if similarity[a, b] == similarity[a].max() == similarity[:, b].max()
    }
    assert {(a, int(b)) for a, b in enumerate(partners_a) if b >= 0} == expected
    assert {(int(a), b) for b, a in enumerate(partners_b) if a >= 0} == expected


def transported_by_loops(similarity: np.ndarray) -> np.ndarray:
    """Sinkhorn's algorithm as in the textbooks: rows and columns in turn are made to sum to what they should."""
    plan = np.exp(similarity.astype(np.float64) / (TEMPERATURE * similarity.std()))
    for _ in range(5000):
        for row in plan:
            row /= row.sum() * len(plan)
        for column in plan.T:
            column /= column.sum() * plan.shape[1]
    return plan


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3), (2, 7)])
def test_the_transport_plan_is_that_of_the_textbook(shape: tuple[int, int]) -> None:
    similarity = similarities(shape, 5)
    assert np.allclose(transport_plan(similarity), transported_by_loops(similarity), atol=1e-6)


def test_only_differences_in_similarity_count_and_not_their_scale() -> None:
    similarity = similarities((6, 8), 6)
    assert np.allclose(transport_plan(similarity), transport_plan(0.01 * similarity + 7), atol=1e-4)


@pytest.mark.parametrize("count", [1, 1000])
def test_a_plan_stays_finite_however_far_apart_similarities_are(count: int) -> None:
    similarity = np.zeros((count, count + 1), dtype=np.float32)
    similarity[0, 0] = 1
    plan = transport_plan(similarity)
    assert np.isfinite(plan).all()
    assert plan.sum() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("shape", SHAPES)
def test_transport_keeps_exactly_the_pairs_that_are_each_others_largest_share(shape: tuple[int, int]) -> None:
    similarity = similarities(shape, 7)
    partners_a, partners_b = match_clusters(similarity, pairs="transport")
    plan = transport_plan(similarity) if min(shape) > 1 else similarity
    expected = {
        (a, b) for a in range(shape[0]) for b in range(shape[1]) if plan[a, b] == plan[a].max() == plan[:, b].max()
    }
    assert {(a, int(b)) for a, b in enumerate(partners_a) if b >= 0} == expected
    assert {(int(a), b) for b, a in enumerate(partners_b) if a >= 0} == expected


def test_a_hub_takes_no_partners_from_others() -> None:
    """Clusters of 40 persons seen twice, one of them similar to all: the others' best partner is the hub."""
    rng = np.random.default_rng(8)
    persons = rng.normal(size=(40, 8))
    similarity = cosines(*(persons + 0.4 * rng.normal(size=(40, 8)) for _ in range(2))).astype(np.float32)
    similarity[:, 0] += 1
    truth = np.arange(40)
    found = {pairs: (match_clusters(similarity, pairs=pairs)[0] == truth).sum() for pairs in ("mutual", "transport")}
    assert found["mutual"] < 20
    assert found["transport"] > 30


def test_the_assignment_is_of_the_whole_and_not_greedy() -> None:
    similarity = np.array([[1.0, 0.9], [0.95, -1.0]], dtype=np.float32)
    assert match_clusters(similarity)[0].tolist() == [1, 0]
    assert match_clusters(similarity, pairs="mutual")[0].tolist() == [0, -1]


def test_the_cost_falls_exponentially_with_similarity() -> None:
    """One excellent and one bad pair add up to more similarity, two good pairs to less cost."""
    similarity = np.array([[3.0, 0.9], [0.9, -1.0]], dtype=np.float32)
    assert match_clusters(similarity)[0].tolist() == [1, 0]


def test_a_true_match_is_found_although_the_other_group_has_three_times_the_clusters() -> None:
    generator = np.random.default_rng(4)
    persons = generator.normal(size=(10, 32)).astype(np.float32)
    texts = generator.normal(size=(10, 16)).astype(np.float32)
    order = generator.permutation(np.repeat(np.arange(10), 3))
    noise = 0.1 * generator.normal(size=(30, 32)).astype(np.float32)
    similarity = cluster_similarity(persons, persons[order] + noise, texts, texts[order])
    partners_a, partners_b = match_clusters(similarity)
    assert np.array_equal(partners_b, order)
    assert np.array_equal(order[partners_a], np.arange(10))


def test_similarity_is_the_weighted_sum_of_both_cosines() -> None:
    means_a, means_b = np.array([[2, 0]], dtype=np.float32), np.array([[1, 1], [0, 0]], dtype=np.float32)
    texts_a, texts_b = np.array([[0, 5, 0]], dtype=np.float32), np.array([[0, -1, 0], [0, 3, 0]], dtype=np.float32)
    result = cluster_similarity(means_a, means_b, texts_a, texts_b, text_weight=0.5)
    assert np.allclose(result, [[0.5**0.5 - 0.5, 0.5]])
    assert result.dtype == np.float32
    assert cluster_similarity(means_a[:0], means_b, texts_a[:0], texts_b).shape == (0, 2)


def test_means_without_texts_are_named() -> None:
    rows = np.ones((2, 3), dtype=np.float32)
    with pytest.raises(InputError, match="second group: 2 cluster means but 1 cluster texts"):
        cluster_similarity(rows, rows, rows, rows[:1])


def test_similarities_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InputError, match="finite"):
        match_clusters(np.array([[np.nan]], dtype=np.float32))


def cosines(rows_a: np.ndarray, rows_b: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows_a, axis=1)[:, None] * np.linalg.norm(rows_b, axis=1)
    return np.asarray(rows_a @ rows_b.T / norms)


@pytest.mark.parametrize(("count_a", "count_b", "width"), [(5, 7, 40), (7, 5, 6), (1, 1, 3)])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_whitening_is_that_of_the_covariance(count_a: int, count_b: int, width: int, share: float) -> None:
    """By the textbook: means times C^(-share / 2), C their second moment, on the directions that they span."""
    rng = np.random.default_rng(count_a)
    means = rng.normal(size=(count_a + count_b, width)) * np.linspace(3, 0.3, width)
    units = means / np.linalg.norm(means, axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(units.T @ units)
    spanned = values > 1e-10 * values.max()
    textbook = units @ (vectors[:, spanned] * values[spanned] ** (-share / 2))
    found = whitened(means[:count_a].astype(np.float32), means[count_a:].astype(np.float32), share=share)
    assert np.allclose(cosines(*found), cosines(textbook[:count_a], textbook[count_a:]), atol=1e-4)


def test_whitening_finds_a_person_in_another_coat() -> None:
    """A strong cue that changes hides a weak one that stays; the right share of whitening turns them round."""
    rng = np.random.default_rng(0)
    body = rng.normal(size=(40, 12))
    coats = rng.normal(size=(2, 40, 4))
    means = [np.concatenate([4 * coat, 1.0 * body], axis=1).astype(np.float32) for coat in coats]
    right = [(cosines(*pair).argmax(axis=1) == np.arange(40)).mean() for pair in (means, whitened(*means, share=0.8))]
    assert right[0] < 0.3
    assert right[1] > 2 * right[0]
