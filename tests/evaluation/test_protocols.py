from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from naive import naive_scores

from itkm.config import PROTOCOL_NAMES
from itkm.errors import InputError
from itkm.evaluation import ranking, ranks
from itkm.evaluation.features import FeatureSet
from itkm.evaluation.protocols import PROTOCOLS, protocol_named, with_published_draw
from itkm.evaluation.ranking import score, score_as_published

PUBLISHED = {
    *("market1501", "msmt17", "sysu-all", "sysu-indoor", "sysu-all-multi", "regdb", "llcm", "prcc", "prcc-single"),
    *("ltcc", "ltcc-cc", "ltcc-sc", "vc-clothes", "vc-clothes-cc", "vc-clothes-sc", "mlr-single-shot", "caviar"),
    *("text", "cross-group"),
}
"""The names that users rely on."""


def exact_rows(count: int, generator: np.random.Generator) -> np.ndarray:
    """Unit rows of 4 entries +-1/2 among 6: cosines are multiples of 1/4, exact in float32, with many ties."""
    rows = np.zeros((count, 6), dtype=np.float32)
    for row in rows:
        row[generator.choice(6, 4, replace=False)] = generator.choice([-0.5, 0.5], 4)
    return rows


def random_images(count: int, persons: int, cameras: int, generator: np.random.Generator) -> FeatureSet:
    return FeatureSet(
        exact_rows(count, generator),
        generator.integers(-1, persons, size=count),
        generator.integers(1, cameras + 1, size=count),
        clothes=generator.integers(2, size=count),
        path=np.array([f"{number:04}.jpg" for number in generator.permutation(count)], dtype=np.str_),
    )


def one(person: int, camera: int, *, clothes: int = 0, path: str = "a", feature: tuple[float, ...] = (1, 0)) -> dict:
    return {"person": person, "camera": camera, "clothes": clothes, "path": path, "features": feature}


def images_of(*rows: dict) -> FeatureSet:
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return FeatureSet(**{**columns, "features": columns["features"].astype(np.float32)})


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    queries=st.integers(1, 8),
    images=st.integers(0, 16),
    persons=st.integers(1, 4),
    cameras=st.sampled_from([1, 3, 6]),
    block=st.sampled_from([1, 40, 10**6]),
    sorting=st.sampled_from([(1, 0), (32, 16), (10**9, 10**9)]),
)
@example(seed=7, queries=2, images=15, persons=2, cameras=3, block=1, sorting=(1, 0))  # one draw of ten has a positive
def test_equals_the_naive_oracle_with_ties_junk_distractors_and_unknowns(
    name: str, seed: int, queries: int, images: int, persons: int, cameras: int, block: int, sorting: tuple[int, int]
) -> None:
    generator = np.random.default_rng(seed)
    query, gallery = (random_images(count, persons, cameras, generator) for count in (queries, images))
    expected = naive_scores(name, query, gallery)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_BLOCK_ENTRIES", block)
        patch.setattr(ranks, "_FEW", sorting[0])
        patch.setattr(ranks, "_MANY", sorting[1])
        if expected is None:
            with pytest.raises(InputError, match=f"protocol {name}: "):
                score(query, gallery, PROTOCOLS[name])
            return
        scores = score(query, gallery, PROTOCOLS[name])
    assert (scores.protocol, scores.queries, scores.skipped, scores.gallery) == (
        *(name, expected["queries"], expected["skipped"], expected["gallery"]),
    )
    for key in ("cmc", "mAP", "mINP", "average_precision", "first_rank"):
        assert getattr(scores, key) == pytest.approx(expected[key], nan_ok=True), key
    assert scores.rank1_closed_form == pytest.approx(expected["rank1_closed_form"])
    assert scores.deviation == pytest.approx(expected["deviation"])


def test_every_published_name_is_there_and_the_settings_know_the_same() -> None:
    assert set(PROTOCOLS) >= PUBLISHED
    assert sorted(PROTOCOL_NAMES) == sorted(PROTOCOLS)
    assert all(protocol.name == name and protocol.about for name, protocol in PROTOCOLS.items())


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_perfect_features_score_one(name: str) -> None:
    person = np.repeat(np.arange(1, 8), 6)
    labels = {"person": person, "clothes": np.tile([0, 0, 1, 0, 0, 1], 7), "path": np.arange(42).astype(np.str_)}
    cameras = np.tile(np.arange(1, 7), 7)
    features = np.eye(8, dtype=np.float32)[person]
    query = FeatureSet(features, camera=cameras, **labels)
    scores = score(query, FeatureSet(features, camera=cameras, **labels), PROTOCOLS[name])
    assert [*scores.cmc, scores.mAP, scores.mINP] == [1.0] * 22
    assert scores.rank1_closed_form in (None, 1.0)
    assert scores.skipped == 0


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_the_order_of_the_gallery_does_not_matter(name: str) -> None:
    """Without ties. A label map from an unsorted set, or a draw from a folder's own order, would fail here."""
    generator = np.random.default_rng(5)
    query, gallery = (
        replace(random_images(count, 6, 6, generator), features=generator.normal(size=(count, 8)).astype(np.float32))
        for count in (40, 200)
    )
    scores = score(query, gallery, PROTOCOLS[name], verification=True).as_dict()
    shuffled = gallery.rows(generator.permutation(len(gallery)))
    again = score(query, shuffled, PROTOCOLS[name], verification=True).as_dict()
    assert again.pop("verification") == [pytest.approx(point, nan_ok=True) for point in scores.pop("verification")]
    assert again.pop("deviation", {}) == pytest.approx(scores.pop("deviation", {}))
    assert again == pytest.approx(scores)


def test_sysu_camera_3_does_not_see_camera_2_and_nothing_else_is_junk() -> None:
    gallery = images_of(one(1, 2, feature=(1, 0)), one(2, 2, feature=(0.9, 0.1)), one(1, 1, feature=(0, 1)))
    blind, seeing = images_of(one(1, 3)), images_of(one(1, 6))
    assert score(blind, gallery, PROTOCOLS["sysu-all"]).first_rank.tolist() == [1]
    assert score(blind, gallery, PROTOCOLS["sysu-all"]).mAP == 1
    assert score(seeing, gallery, PROTOCOLS["sysu-all"]).mAP == pytest.approx((1 + 2 / 3) / 2)


def test_sysu_cmc_counts_each_person_once_and_map_every_image() -> None:
    far, near = (0, 1), (1, 0)
    gallery = images_of(*(one(9, camera, feature=near) for camera in (1, 2, 4, 5)), one(1, 1, feature=far))
    scores = score(images_of(one(1, 6)), gallery, PROTOCOLS["sysu-all"])
    assert scores.cmc.tolist() == [0.0] + [1.0] * 19
    assert (scores.mAP, scores.first_rank.tolist()) == (1 / 5, [5.0])


def test_sysu_compares_each_image_once_for_all_trials() -> None:
    generator = np.random.default_rng(0)
    query, gallery = (random_images(count, 5, 6, generator) for count in (10, 60))
    asked: list[tuple[int, int]] = []

    def similarity(start: int, stop: int) -> np.ndarray:
        asked.append((start, stop))
        return query.features[start:stop] @ gallery.features.T

    assert score(query, gallery, PROTOCOLS["sysu-all"], similarity=similarity).trials == 10
    assert asked == [(0, 10)]


def test_a_distractor_is_never_a_positive_but_stands_in_the_way_on_market_alone() -> None:
    gallery = images_of(one(0, 1), one(5, 1, feature=(1, 0.1)), one(-1, 1, feature=(1, 0.05)))
    query = images_of(one(5, 2), one(0, 2))
    market, cross = score(query, gallery, PROTOCOLS["market1501"]), score(query, gallery, PROTOCOLS["cross-group"])
    assert market.first_rank.tolist() == [2, 0]
    assert np.isnan(market.average_precision[1])
    assert (market.queries, market.skipped, market.gallery) == (2, 1, 2)
    assert cross.first_rank.tolist() == [2, 1]
    assert cross.skipped == 0


def test_clothes_decide_what_is_junk_on_ltcc() -> None:
    gallery = images_of(one(1, 2, clothes=0, feature=(0, 1)), one(1, 2, clothes=1), one(2, 2, feature=(1, 0.1)))
    query = images_of(one(1, 1, clothes=0))
    assert score(query, gallery, PROTOCOLS["ltcc"]).mAP == pytest.approx((1 + 2 / 3) / 2)
    assert score(query, gallery, PROTOCOLS["ltcc-cc"]).mAP == 1
    assert score(query, gallery, PROTOCOLS["ltcc-sc"]).mAP == 1 / 2


def test_regdb_and_llcm_are_scored_in_both_directions() -> None:
    generator = np.random.default_rng(2)
    query, gallery = (random_images(count, 5, 6, generator) for count in (30, 40))
    for name in ("regdb", "llcm"):
        scores = score_as_published(query, gallery, PROTOCOLS[name])
        assert scores.as_dict()["reverse"] == score(gallery, query, PROTOCOLS[name]).as_dict()
        assert {**scores.as_dict(), "reverse": None} == {
            **score(query, gallery, PROTOCOLS[name]).as_dict(),
            "reverse": None,
        }
    assert score_as_published(query, gallery, PROTOCOLS["market1501"]).reverse is None


def test_single_shot_in_closed_form_is_what_many_draws_come_to() -> None:
    generator = np.random.default_rng(4)
    query, gallery = (random_images(count, 8, 1, generator) for count in (60, 120))
    protocol = PROTOCOLS["caviar"]
    scores = score(query, gallery, replace(protocol, draw=replace(protocol.draw, trials=2000)))
    assert scores.rank1_closed_form == pytest.approx(scores.rank1, abs=0.01)


def test_mlr_single_shot_takes_map_from_the_full_gallery() -> None:
    gallery = images_of(*(one(1, 2, path=f"{n}", feature=(1, n)) for n in range(3)), one(2, 2, feature=(1, 1.5)))
    scores = score(images_of(one(1, 1)), gallery, PROTOCOLS["mlr-single-shot"])
    assert (scores.mAP, scores.gallery) == (pytest.approx((1 + 1 + 3 / 4) / 3), 4)
    assert scores.rank1_closed_form == pytest.approx(2 / 3)
    assert set(scores.deviation) == {"rank1"}


@pytest.mark.parametrize("name", ["sysu-all", "prcc", "vc-clothes-cc"])
def test_cameras_that_a_protocol_does_not_know_are_named(name: str) -> None:
    right = score_perfect(name)
    wrong = replace(right, camera=right.camera + 10)
    for query, gallery, part in ((wrong, right, "query"), (right, wrong, "gallery")):
        with pytest.raises(InputError, match=rf"protocol {name}: it takes {part} images of the cameras .*11, 12"):
            score(query, gallery, PROTOCOLS[name])


def score_perfect(name: str) -> FeatureSet:
    return images_of(*(one(1, camera, path=f"{name}{camera}") for camera in range(1, 7)))


def test_an_empty_or_unknown_gallery_is_named() -> None:
    some = images_of(one(1, 1), one(2, 1))
    for query, gallery, said in (
        (some, some.rows(np.array([], dtype=np.int64)), "the gallery is empty"),
        (some.rows(np.array([], dtype=np.int64)), some, "the query is empty"),
        (some, replace(some, person=np.array([-1, -1])), "all 2 gallery images are of unknown persons"),
    ):
        with pytest.raises(InputError, match=f"protocol text: {said}"):
            score(query, gallery, PROTOCOLS["text"])


def test_cameras_that_make_every_positive_junk_are_named() -> None:
    some = images_of(one(1, 1), one(2, 1))
    with pytest.raises(InputError, match=r"none of the 2 queries .*camera numbers differ.*junk = same person and cam"):
        score(some, some, PROTOCOLS["market1501"])
    assert score(some, some, PROTOCOLS["text"]).rank1 == 0.5


def test_unknown_clothes_are_named_where_they_matter() -> None:
    known, unknown = images_of(one(1, 1)), images_of(one(1, 2, clothes=-1, path="x/y.png"))
    with pytest.raises(InputError, match=r"gallery: the clothes in row 0 \(x/y.png\) are unknown"):
        score(known, unknown, PROTOCOLS["ltcc-cc"])
    with pytest.raises(InputError, match="queries: no column `clothes`"):
        score(replace(known, clothes=None), unknown, PROTOCOLS["ltcc-sc"])
    assert score(known, unknown, PROTOCOLS["ltcc"]).rank1 == 1


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_what_a_few_queries_do_not_see_can_be_asked(name: str) -> None:
    generator = np.random.default_rng(1)
    query, gallery = (random_images(count, 4, 6, generator) for count in (12, 40))
    junk = PROTOCOLS[name].junk(query, gallery)
    own = query.person[:, None] == gallery.person
    for q, g in np.argwhere(own & (gallery.person != -1)):
        alone = gallery.rows(np.array([g]))
        try:
            seen = score(query.rows(np.array([q])), alone, PROTOCOLS[name]).skipped == 0
        except InputError:
            seen = False
        asks = not PROTOCOLS[name].query_cameras or query.camera[q] in PROTOCOLS[name].query_cameras
        if asks and query.person[q] != PROTOCOLS[name].distractor:
            assert junk[q, g] == (not seen)
    assert junk[:, gallery.person == -1].all()


def test_a_misspelt_protocol_is_suggested() -> None:
    assert protocol_named("market1501") is PROTOCOLS["market1501"]
    with pytest.raises(InputError, match=r"'sysu_all' is not known\. Did you mean 'sysu-all'\? Choose one of: cross-g"):
        protocol_named("sysu_all")


def test_only_sysu_has_a_published_draw(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only SYSU-MM01 has a published draw, llcm has none"):
        with_published_draw(PROTOCOLS["llcm"], tmp_path / "rand_perm_cam.mat")
