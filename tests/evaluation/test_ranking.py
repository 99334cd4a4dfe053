from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from itkm.errors import InputError
from itkm.evaluation import ranking
from itkm.evaluation.features import FeatureSet
from itkm.evaluation.protocols import PROTOCOLS
from itkm.evaluation.ranking import CMC_LENGTH, score
from itkm.evaluation.rerank import rerank
from itkm.evaluation.similarity import Similarity

MARKET, CROSS = PROTOCOLS["market1501"], PROTOCOLS["cross-group"]


def a_set(features: np.ndarray, person: np.ndarray | list[int], camera: np.ndarray | list[int]) -> FeatureSet:
    return FeatureSet(np.asarray(features, np.float32), np.asarray(person, np.int64), np.asarray(camera, np.int64))


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


def test_unknown_persons_never_match_each_other() -> None:
    unknown = a_set(np.ones((2, 2)), [-1, 3], [0, 0])
    scores = score(unknown, a_set(np.ones((2, 2)), [-1, 3], [1, 1]), CROSS)
    assert (scores.skipped, scores.gallery) == (1, 1)


def test_a_gallery_smaller_than_the_longest_rank_is_fine() -> None:
    scores = score(a_set(np.ones((1, 2)), [1], [0]), a_set(np.ones((1, 2)), [1], [1]), MARKET)
    assert (scores.rank1, scores.rank20, len(scores.cmc)) == (1.0, 1.0, CMC_LENGTH)


def test_a_given_similarity_takes_the_place_of_the_cosine_and_is_not_changed() -> None:
    query, gallery = random_sets(2)
    matrix = np.random.default_rng(2).normal(size=(len(query), len(gallery))).astype(np.float32)
    matrix.flags.writeable = False
    for name in ("market1501", "sysu-all", "caviar"):
        cameras = {"query": replace(query, camera=query.camera + 3), "gallery": replace(gallery, person=gallery.person)}
        given = score(*cameras.values(), PROTOCOLS[name], similarity=lambda start, stop: matrix[start:stop])
        assert given.queries == len(query)
    best = gallery.person[matrix.argmax(axis=1)] == query.person
    assert score(query, gallery, CROSS, similarity=lambda start, stop: matrix[start:stop]).rank1 == best.mean()


def seen_by(images: FeatureSet, cameras: list[int]) -> FeatureSet:
    return replace(images, camera=np.resize(np.array(cameras), len(images)))


def reranked(query: FeatureSet, gallery: FeatureSet) -> Similarity:
    return rerank(query.features, gallery.features)


def test_who_does_not_ask_and_what_is_not_shown_changes_no_re_ranking() -> None:
    query, gallery = map(seen_by, random_sets(3), ([2, 3], [1, 2]))
    alone = query.rows(query.camera == 3)
    shown = gallery.rows(gallery.camera == 1)
    scores = score(query, gallery, PROTOCOLS["prcc"], compare=reranked)
    assert scores.mAP == score(alone, shown, PROTOCOLS["prcc"], compare=reranked).mAP
    assert scores.mAP == pytest.approx(score(alone, shown, PROTOCOLS["prcc"], similarity=reranked(alone, shown)).mAP)


def test_every_drawn_gallery_is_re_ranked_by_itself() -> None:
    query, gallery = map(seen_by, random_sets(4), ([6], [1, 2, 4, 5]))
    protocol = PROTOCOLS["sysu-all"]
    assert protocol.draw is not None
    drawn = [gallery.rows(rows) for rows in protocol.draw(gallery, protocol.shown(gallery))]
    whole = replace(protocol, draw=None)
    alone = [score(query, own, whole, similarity=reranked(query, own)) for own in drawn]
    scores = score(query, gallery, protocol, compare=reranked, verification=True)
    assert scores.trials == len(drawn) == 10
    assert scores.mAP == pytest.approx(np.mean([own.mAP for own in alone]))
    assert scores.rank1 == pytest.approx(np.mean([own.rank1 for own in alone]))


def test_a_large_gallery_of_one_person_is_ranked_alike_by_counting_and_by_sorting() -> None:
    """200 positives: the worst would be counted 200 times."""
    rng = np.random.default_rng(0)
    person = np.repeat([1, 2], [200, 2000])
    gallery = a_set(rng.normal(size=(2200, 4)), person, [1] * 2200)
    query = a_set(rng.normal(size=(1, 4)), [1], [0])
    units = gallery.features / np.linalg.norm(gallery.features, axis=1, keepdims=True)
    ranks = np.flatnonzero(person[np.argsort(-(units @ query.features[0]), kind="stable")] == 1) + 1
    assert score(query, gallery, CROSS).mAP == pytest.approx((np.arange(1, 201) / ranks).mean())


def test_zero_rows_have_no_direction() -> None:
    gallery = replace(a_set(np.array([[1, 0], [0, 0]]), [1, 2], [1, 1]), path=np.array(["a.png", "b.png"]))
    with pytest.raises(InputError, match=r"row 1 \(b.png\) is all zeros \(1 such rows\)"):
        score(a_set(np.ones((1, 2)), [1], [0]), gallery, CROSS)


@pytest.mark.parametrize("scale", [1e-38, 1e38])
def test_very_small_and_very_large_features_are_compared_by_their_direction(scale: float) -> None:
    query, gallery = random_sets(3)
    scaled = replace(gallery, features=(gallery.features / np.abs(gallery.features).max() * scale).astype(np.float32))
    assert score(query, scaled, CROSS).mAP == pytest.approx(score(query, gallery, CROSS).mAP, abs=1e-3)


def test_features_of_two_models_are_refused() -> None:
    with pytest.raises(InputError, match="query features have 3 values and gallery features 2"):
        score(a_set(np.ones((1, 3)), [1], [0]), a_set(np.ones((1, 2)), [1], [1]), CROSS)


def test_the_json_has_exactly_the_contracted_keys_unless_there_is_more_to_say() -> None:
    scores = score(*random_sets(1), CROSS)
    keys = ["protocol", "queries", "skipped", "gallery", "rank1", "rank5", "rank10", "rank20", "mAP", "mINP"]
    assert list(scores.as_dict()) == keys
    more = [*keys, "trials", "deviation", "rank1_closed_form", "verification"]
    assert list(score(*random_sets(1), PROTOCOLS["caviar"], verification=True).as_dict()) == more
    assert scores.rank5 == scores.cmc[4]
    assert scores.rank10 == scores.cmc[9]
    assert scores.rank20 == scores.cmc[19]
    assert 0 < scores.rank1 < scores.rank5 < scores.rank20 <= 1
