from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import is_junk
from sklearn.metrics import roc_curve

from itkm.evaluation import ranking
from itkm.evaluation.features import FeatureSet
from itkm.evaluation.protocols import PROTOCOLS
from itkm.evaluation.ranking import score

NAMES = ("market1501", "sysu-all", "ltcc-cc", "text", "caviar", "vc-clothes-cc")


def images(count: int, persons: int, generator: np.random.Generator, *, coarse: bool) -> FeatureSet:
    """Random features; coarse ones have many equal cosines."""
    features = generator.normal(size=(count, 6)).astype(np.float32)
    if coarse:
        features = np.eye(6, dtype=np.float32)[generator.integers(6, size=count)]
    return FeatureSet(
        features,
        generator.integers(-1, persons, size=count),
        generator.integers(1, 7, size=count),
        clothes=generator.integers(2, size=count),
        path=np.arange(count).astype(np.str_),
    )


def valid_pairs(name: str, query: FeatureSet, gallery: FeatureSet, similarity: np.ndarray) -> tuple[list, list]:
    """(one person?, similarity) of every pair that is not junk, one after the other."""
    protocol = PROTOCOLS[name]
    same, values = [], []
    for q in range(len(query)):
        for g in range(len(gallery)):
            asking, shown = ((own.person[i], own.camera[i], own.clothes[i]) for own, i in ((query, q), (gallery, g)))
            if protocol.query_cameras and asking[1] not in protocol.query_cameras:
                continue
            if protocol.gallery_cameras and shown[1] not in protocol.gallery_cameras:
                continue
            unknown = shown[0] == -1 or asking[0] == -1 or asking[0] == protocol.distractor
            if not unknown and not is_junk(name, asking, shown):
                same.append(bool(asking[0] == shown[0]))
                values.append(float(similarity[q, g]))
    return same, values


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    queries=st.integers(2, 30),
    shown=st.integers(2, 60),
    persons=st.integers(2, 12),
    coarse=st.booleans(),
    block=st.sampled_from([1, 100, 10**6]),
    name=st.sampled_from(NAMES),
)
def test_operating_points_are_those_of_scikit_learns_roc_curve(
    seed: int, queries: int, shown: int, persons: int, coarse: bool, block: int, name: str
) -> None:
    generator = np.random.default_rng(seed)
    query, gallery = (images(count, persons, generator, coarse=coarse) for count in (queries, shown))
    similarity = (query.unit_rows() @ gallery.unit_rows().T).astype(np.float32)
    same, values = valid_pairs(name, query, gallery, similarity)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_BLOCK_ENTRIES", block)
        if not any(same):
            return
        try:
            points = score(
                query, gallery, PROTOCOLS[name], similarity=lambda a, b: similarity[a:b], verification=True
            ).verification
        except ranking.InputError:  # the drawn galleries have no positive
            return
    assert [point.fpr for point in points] == [1e-2, 1e-3, 1e-4]
    if all(same):
        assert [(point.tpr, point.threshold) for point in points] == [(None, None)] * 3
        return
    fpr, tpr, thresholds = roc_curve(same, values, drop_intermediate=False)
    wrong = np.round(fpr * (len(same) - sum(same))).astype(int)
    for point in points:
        allowed = (len(same) - sum(same)) // round(1 / point.fpr)
        last = np.flatnonzero(wrong <= allowed)[-1]
        assert point.tpr == pytest.approx(tpr[last])
        assert point.threshold == (None if last == 0 else pytest.approx(thresholds[last]))


def test_a_pair_at_the_threshold_is_accepted() -> None:
    generator = np.random.default_rng(1)
    query, gallery = (images(count, 8, generator, coarse=False) for count in (60, 300))
    gallery = replace(gallery, features=gallery.features + 4 * np.eye(6, dtype=np.float32)[gallery.person % 6])
    query = replace(query, features=query.features + 4 * np.eye(6, dtype=np.float32)[query.person % 6])
    similarity = query.unit_rows() @ gallery.unit_rows().T
    same, values = map(np.array, valid_pairs("market1501", query, gallery, similarity))
    for point in score(query, gallery, PROTOCOLS["market1501"], verification=True).verification:
        accepted = values >= np.float32(point.threshold) - 1e-7
        assert accepted[same].mean() == pytest.approx(point.tpr, abs=1e-3)
        assert accepted[~same].mean() <= point.fpr + 1e-3


def test_many_small_blocks_keep_only_the_closest_false_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    query, gallery = (images(count, 30, generator, coarse=False) for count in (100, 500))
    matrix = query.unit_rows() @ gallery.unit_rows().T
    given = {"similarity": lambda start, stop: matrix[start:stop], "verification": True}
    whole = score(query, gallery, PROTOCOLS["text"], **given).verification
    kept: list[int] = []
    cut_down = ranking.PairTally._cut_down

    def watched(tally: ranking.PairTally) -> None:
        cut_down(tally)
        kept.append(sum(map(len, tally._false)))

    monkeypatch.setattr(ranking.PairTally, "_cut_down", watched)
    monkeypatch.setattr(ranking, "_BLOCK_ENTRIES", 1)
    assert score(query, gallery, PROTOCOLS["text"], **given).verification == whole
    assert kept
    assert max(kept) <= 100 * 500 // 100 + 1


def test_points_are_plain_numbers_for_json() -> None:
    generator = np.random.default_rng(4)
    query, gallery = (images(count, 5, generator, coarse=False) for count in (20, 50))
    points = score(query, gallery, PROTOCOLS["text"], verification=True).as_dict()["verification"]
    assert isinstance(points, list)
    assert [set(point) for point in points] == [{"fpr", "tpr", "threshold"}] * 3
    assert all(type(value) is float for point in points for value in point.values() if value is not None)
    assert asdict(score(query, gallery, PROTOCOLS["text"]))["verification"] == ()
