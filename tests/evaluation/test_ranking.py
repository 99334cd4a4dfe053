from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from itkm.errors import InputError
from itkm.evaluation import ranking
from itkm.evaluation.features import FeatureSet
from itkm.evaluation.protocols import CMC_LENGTH, PROTOCOLS, Protocol, Ranking, protocol_named
from itkm.evaluation.ranking import score

MARKET, CROSS = PROTOCOLS["market1501"], PROTOCOLS["cross-group"]


def a_set(features: np.ndarray, person: np.ndarray | list[int], camera: np.ndarray | list[int]) -> FeatureSet:
    return FeatureSet(np.asarray(features, np.float32), np.asarray(person, np.int64), np.asarray(camera, np.int64))


def exact_rows(count: int, generator: np.random.Generator) -> np.ndarray:
    """Unit rows of 4 entries +-1/2 among 6: cosines are multiples of 1/4, exact in float32, with many ties."""
    rows = np.zeros((count, 6), dtype=np.float32)
    for row in rows:
        row[generator.choice(6, 4, replace=False)] = generator.choice([-0.5, 0.5], 4)
    return rows


def naive_scores(query: FeatureSet, gallery: FeatureSet, distractor: int | None) -> dict[str, object]:
    """One query, one sorted list, one image after the other."""
    known = [g for g in range(len(gallery)) if gallery.person[g] != -1]
    precisions, penalties, firsts = [], [], []
    for q in range(len(query)):
        similarity = gallery.features @ query.features[q]
        seen = [
            g
            for g in sorted(known, key=lambda g: (-similarity[g], g))
            if not (gallery.person[g] == query.person[q] and gallery.camera[g] == query.camera[q])
        ]
        person = query.person[q]
        ranks = [r for r, g in enumerate(seen, 1) if gallery.person[g] == person and person not in (-1, distractor)]
        if ranks:
            precisions.append(sum(hit / rank for hit, rank in enumerate(ranks, 1)) / len(ranks))
            penalties.append(len(ranks) / ranks[-1])
        firsts.append(ranks[0] if ranks else 0)
    scored = len(precisions)
    if not scored:
        return {"scored": 0}
    return {
        "scored": scored,
        "gallery": len(known),
        "mAP": sum(precisions) / scored,
        "mINP": sum(penalties) / scored,
        "firsts": firsts,
        "cmc": [sum(0 < first <= rank for first in firsts) / scored for rank in range(1, 21)],
    }


@settings(max_examples=400, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    queries=st.integers(1, 6),
    images=st.integers(0, 30),
    persons=st.integers(1, 5),
    cameras=st.integers(1, 3),
    name=st.sampled_from(sorted(PROTOCOLS)),
    block=st.sampled_from([1, 40, 10**6]),
)
def test_equals_the_naive_oracle_with_ties_junk_distractors_and_unknowns(
    seed: int, queries: int, images: int, persons: int, cameras: int, name: str, block: int
) -> None:
    generator = np.random.default_rng(seed)
    query, gallery = (
        a_set(
            exact_rows(count, generator).reshape(count, 6),
            generator.integers(-1, persons, size=count),
            generator.integers(cameras, size=count),
        )
        for count in (queries, images)
    )
    expected = naive_scores(query, gallery, PROTOCOLS[name].distractor)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_BLOCK_ENTRIES", block)
        if not expected["scored"]:
            with pytest.raises(InputError, match=f"none of the {queries} queries"):
                score(query, gallery, PROTOCOLS[name])
            return
        scores = score(query, gallery, PROTOCOLS[name])
    assert scores.queries - scores.skipped == expected["scored"]
    assert scores.queries == queries
    assert scores.gallery == expected["gallery"]
    assert scores.first_rank.tolist() == expected["firsts"]
    assert scores.mAP == pytest.approx(expected["mAP"])
    assert scores.mINP == pytest.approx(expected["mINP"])
    assert np.allclose(scores.cmc, expected["cmc"])


def random_sets(seed: int, queries: int = 40, images: int = 300) -> tuple[FeatureSet, FeatureSet]:
    generator = np.random.default_rng(seed)
    query, gallery = (
        a_set(
            generator.normal(size=(count, 16)),
            generator.integers(1, 15, size=count),
            np.full(count, camera),
        )
        for count, camera in ((queries, 0), (images, 1))
    )
    return query, gallery


def test_average_precision_is_scikit_learns_step_form() -> None:
    query, gallery = random_sets(0)
    scores = score(query, gallery, CROSS)
    units = gallery.features / np.linalg.norm(gallery.features, axis=1, keepdims=True)
    for q in range(len(query)):
        expected = average_precision_score(gallery.person == query.person[q], units @ query.features[q])
        assert scores.average_precision[q] == pytest.approx(expected)
    assert scores.mAP == pytest.approx(scores.average_precision.mean())


def test_the_three_metrics_by_hand() -> None:
    """Positives at ranks 2 and 4 of 4: AP = (1/2 + 2/4) / 2, INP = 2/4."""
    gallery = a_set(np.array([[1, 0.1], [1, 0.2], [1, 0.3], [1, 0.4]]), [9, 5, 8, 5], [1] * 4)
    scores = score(a_set(np.array([[7, 0]]), [5], [0]), gallery, CROSS)
    assert (scores.mAP, scores.mINP, scores.rank1, scores.rank5) == (0.5, 0.5, 0.0, 1.0)
    assert scores.cmc.tolist() == [0.0] + [1.0] * 19


def test_perfect_features_score_one() -> None:
    person = np.repeat(np.arange(1, 8), 4)
    features = np.eye(8)[person]
    scores = score(a_set(features, person, [0] * 28), a_set(features, person, [1] * 28), MARKET)
    assert set(scores.as_dict().values()) == {"market1501", 28, 0, 1.0}


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_gallery_the_norm_and_the_block_do_not_matter(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    query, gallery = random_sets(seed)
    scores = score(query, gallery, CROSS).as_dict()
    shuffled = gallery.rows(np.random.default_rng(seed).permutation(len(gallery)))
    assert score(query, shuffled, CROSS).as_dict() == pytest.approx(scores)
    assert score(replace(query, features=query.features * 1000), gallery, CROSS).as_dict() == pytest.approx(scores)
    for queries_in_a_block in (1, 20, 40):  # the number of queries is a multiple of the block: no empty last block
        monkeypatch.setattr(ranking, "_BLOCK_ENTRIES", queries_in_a_block * len(gallery))
        assert score(query, gallery, CROSS).as_dict() == pytest.approx(scores)


def test_ties_are_broken_by_gallery_index() -> None:
    same = np.ones((4, 2))
    for person, first, precision in (([5, 1, 1, 5], 1, 0.75), ([1, 5, 5, 1], 2, (1 / 2 + 2 / 3) / 2)):
        scores = score(a_set(same[:1], [5], [0]), a_set(same, person, [1] * 4), CROSS)
        assert scores.first_rank.tolist() == [first]
        assert scores.mAP == pytest.approx(precision)


def test_the_same_camera_neither_counts_nor_stands_in_the_way() -> None:
    gallery = a_set(np.array([[1, 0], [1, 0.1], [1, 0.2]]), [5, 6, 5], [0, 0, 1])
    scores = score(a_set(np.array([[1, 0]]), [5], [0]), gallery, CROSS)
    assert scores.first_rank.tolist() == [2]


def test_a_distractor_is_never_a_positive_but_stands_in_the_way_on_market() -> None:
    gallery = a_set(np.array([[1, 0], [1, 0.1], [1, 0.05]]), [0, 5, -1], [1, 1, 1])
    query = a_set(np.array([[1, 0], [1, 0]]), [5, 0], [0, 0])
    market, cross = score(query, gallery, MARKET), score(query, gallery, CROSS)
    assert market.first_rank.tolist() == [2, 0]
    assert np.isnan(market.average_precision[1])
    assert (market.queries, market.skipped, market.gallery) == (2, 1, 2)
    assert cross.first_rank.tolist() == [2, 1]
    assert cross.skipped == 0


def test_unknown_persons_never_match_each_other() -> None:
    unknown = a_set(np.ones((2, 2)), [-1, 3], [0, 0])
    scores = score(unknown, a_set(np.ones((2, 2)), [-1, 3], [1, 1]), CROSS)
    assert (scores.skipped, scores.gallery) == (1, 1)


def test_a_gallery_smaller_than_the_longest_rank_is_fine() -> None:
    scores = score(a_set(np.ones((1, 2)), [1], [0]), a_set(np.ones((1, 2)), [1], [1]), MARKET)
    assert (scores.rank1, scores.rank20, len(scores.cmc)) == (1.0, 1.0, CMC_LENGTH)


@pytest.mark.parametrize("images", [0, 3])
def test_no_valid_query_says_what_to_check(images: int) -> None:
    gallery = a_set(np.ones((images, 2)), [1] * images, [0] * images)
    with pytest.raises(InputError, match=r"cross-group: none of the 2 queries.*camera numbers differ"):
        score(a_set(np.ones((2, 2)), [1, 2], [0, 0]), gallery, CROSS)


def test_features_of_two_models_are_refused() -> None:
    with pytest.raises(InputError, match="query features have 3 values and gallery features 2"):
        score(a_set(np.ones((1, 3)), [1], [0]), a_set(np.ones((1, 2)), [1], [1]), CROSS)


def test_the_json_has_exactly_the_contracted_keys() -> None:
    scores = score(*random_sets(1), CROSS)
    keys = ["protocol", "queries", "skipped", "gallery", "rank1", "rank5", "rank10", "rank20", "mAP", "mINP"]
    assert list(scores.as_dict()) == keys
    assert scores.rank5 == scores.cmc[4]
    assert scores.rank10 == scores.cmc[9]
    assert scores.rank20 == scores.cmc[19]
    assert 0 < scores.rank1 < scores.rank5 < scores.rank20 <= 1


def test_an_unknown_protocol_is_named_with_the_choices() -> None:
    assert protocol_named("market1501") is MARKET
    with pytest.raises(InputError, match=r"'sysu' is not known\. Choose one of: cross-group, market1501"):
        protocol_named("sysu")


def test_another_protocol_needs_no_other_ranking() -> None:
    """Junk of another identity (SYSU: camera 2 for queries of camera 3), and a CMC that counts each person once."""

    def of_camera_two(queries: FeatureSet, gallery: FeatureSet) -> np.ndarray:
        return np.asarray((queries.camera[:, None] == 3) & (gallery.camera == 2))

    def counting_persons(ranked: Ranking) -> np.ndarray:
        closer = np.argsort(-ranked.similarity, kind="stable")[: ranked.ranks[0]]
        return np.asarray(np.arange(1, CMC_LENGTH + 1) >= len(np.unique(ranked.person[closer])), dtype=np.float64)

    gallery = a_set(np.array([[1, 0], [1, 0.1], [1, 0.2], [1, 0.3]]), [7, 8, 8, 5], [2, 1, 1, 1])
    query = a_set(np.array([[1, 0]]), [5], [3])
    scores = score(query, gallery, Protocol(name="mine", junk=of_camera_two, cmc=counting_persons))
    assert scores.first_rank.tolist() == [3]
    assert scores.cmc[:3].tolist() == [0, 1, 1]
    assert scores.protocol == "mine"
