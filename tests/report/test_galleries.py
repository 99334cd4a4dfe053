from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from itkm.config import Settings
from itkm.data.manifest import COLUMNS, read_table
from itkm.evaluation.features import FeatureSet, scored_part
from itkm.evaluation.protocols import PROTOCOLS
from itkm.evaluation.ranking import score
from itkm.report.galleries import Gallery, build_gallery
from itkm.stages.layout import Layout

Parts = tuple[pd.DataFrame, dict[str, np.ndarray], dict[str, np.ndarray]]
PROTOCOL = PROTOCOLS["cross-group"]


@pytest.fixture
def parts(project: tuple[Settings, Layout]) -> Parts:
    layout = project[1]
    table = read_table(layout.evaluation_table("vi"), COLUMNS)
    with np.load(layout.scored("vi")) as scored, np.load(layout.heterogeneous / "vi.npz") as final:
        return table, dict(scored), dict(final)


def build(parts: Parts, seed: int = 1) -> Gallery:
    return build_gallery("vi", *parts, PROTOCOL, seed=seed)


def test_lists_are_ranked_and_marked_as_a_plain_sort_says(parts: Parts) -> None:
    table, scored, _ = parts
    person = dict(zip(table["path"], table["person"], strict=True))
    paths = scored["query_path"].tolist()
    gallery = build(parts)
    assert len(gallery.queries) == 6
    for query in gallery.queries:
        row = paths.index(query.picture.path)
        for own, model in zip(query.lists, ("zero_shot", "heterogeneous"), strict=True):
            order = sorted(
                range(len(scored["gallery_path"])),
                key=lambda place: -float(scored[f"{model}_gallery"][place] @ scored[f"{model}_query"][row]),
            )
            assert [picture.path for picture in own.pictures] == scored["gallery_path"][order[:8]].tolist()
            for picture in own.pictures:
                assert picture.right == (person[picture.path] == person[query.picture.path])
                assert ("hit" in picture.alt) == picture.right


def test_the_groups_of_queries_and_gallery_are_named(parts: Parts) -> None:
    table, scored, final = parts
    assert build(parts).direction == "infrared asks visible"
    same = table.assign(group=table["group"].where(table["split"] == "train", "visible"))
    assert build((same, scored, final)).direction == "visible asks visible"


def test_drawn_galleries_are_those_of_the_scores(parts: Parts) -> None:
    """A seeded draw goes by the files' own names, not by their places or the names of their content."""
    table, scored, final = parts
    protocol = PROTOCOLS["mlr-single-shot"]
    given = {**scored, "gallery_source": np.char.add("x", scored["gallery_path"][::-1])}
    pair = [scored_part(given, "heterogeneous", part) for part in ("query", "gallery")]
    expected = score(*pair, protocol).average_precision
    for query in build_gallery("vi", table, given, final, protocol, seed=1).queries:
        row = scored["query_path"].tolist().index(query.picture.path)
        assert query.lists[1].average_precision == expected[row]


def test_queries_are_the_best_the_median_and_the_worst(parts: Parts) -> None:
    _, scored, _ = parts
    query, answers = (
        FeatureSet(scored[f"heterogeneous_{part}"], scored[f"{part}_person"], scored[f"{part}_camera"])
        for part in ("query", "gallery")
    )
    precision = score(query, answers, PROTOCOL).average_precision
    shown = build(parts).queries
    assert [own.kind for own in shown] == ["best", "best", "median", "median", "worst", "worst"]
    assert shown[0].lists[1].average_precision == precision.max()
    assert min(own.lists[1].average_precision for own in shown) == precision.min()
    assert all(own.positives == 4 for own in shown)
    person = dict(zip(scored["query_path"], scored["query_person"], strict=True))
    assert len({person[own.picture.path] for own in shown}) == 6


def test_junk_is_not_shown(parts: Parts) -> None:
    """With the query's camera in the gallery, the images of its own person are junk there."""
    table, scored, final = parts
    scored = {**scored, "query_camera": np.zeros_like(scored["query_camera"])}
    gallery_camera = np.where(scored["gallery_camera"] == scored["gallery_camera"].min(), 0, 1)
    scored["gallery_camera"] = gallery_camera
    junk = {
        (identity, path)
        for identity, path, camera in zip(scored["gallery_person"], scored["gallery_path"], gallery_camera, strict=True)
        if camera == 0
    }
    person = dict(zip(scored["query_path"], scored["query_person"], strict=True))
    for query in build((table, scored, final)).queries:
        assert query.positives == 2
        assert (
            not {(person[query.picture.path], picture.path) for own in query.lists for picture in own.pictures} & junk
        )


def test_without_labels_there_are_no_lists_and_no_marks(parts: Parts) -> None:
    table, scored, final = parts
    nobody = {name: np.full_like(values, -1) if "person" in name else values for name, values in scored.items()}
    gallery = build((table.assign(person=-1), nobody, final))
    assert gallery.queries == ()
    assert len(gallery.clusters) == 6
    assert {own.purity for own in gallery.clusters} == {None}
    assert {picture.right for picture in gallery.pictures} == {None}
    assert {match.right for match in (*gallery.cluster_pairs, *gallery.instance_pairs)} == {None}


def test_clusters_span_from_pure_to_impure_with_members_marked(parts: Parts) -> None:
    table, _, final = parts
    person = dict(zip(table["path"], table["person"], strict=True))
    for group in ("visible", "infrared"):
        shown = [own for own in build(parts).clusters if own.group == group]
        purity = [own.purity for own in shown]
        assert purity == sorted(purity, reverse=True)
        assert purity[-1] < 1
        for cluster in shown:
            right = [picture for picture in cluster.pictures if picture.right]
            assert len({person[picture.path] for picture in right}) == 1
            assert len(right) / len(cluster.pictures) == pytest.approx(cluster.purity)
            assert cluster.size == int(
                ((final["labels"] == cluster.number) & (final["group"] == ("visible", "infrared").index(group))).sum()
            )


def test_matches_are_marked_by_the_hidden_identities(parts: Parts) -> None:
    table, _, final = parts
    person = dict(zip(table["path"], table["person"], strict=True))
    gallery = build(parts)
    for match in gallery.instance_pairs:
        assert match.right == (person[match.first[0].path] == person[match.second[0].path])
    for match in gallery.cluster_pairs:
        first, second = (int(word) for word in match.caption.split() if word.isdigit())
        assert final["partner_0"][first] == second
        assert all("visible" in picture.alt for picture in match.first)
        assert all("infrared" in picture.alt for picture in match.second)
    marks = [match.right for seed in range(5) for match in build(parts, seed).cluster_pairs]
    assert {True, False} == set(marks)


def test_all_outliers_and_no_pair(parts: Parts) -> None:
    table, scored, final = parts
    none = np.empty(0, dtype=np.int64)
    empty = {**final, "labels": np.full_like(final["labels"], -1), "partner_0": none, "partner_1": none}
    gallery = build((table, scored, {**empty, "pairs": np.empty((0, 2), dtype=np.int64), "pair_score": none}))
    assert (gallery.clusters, gallery.cluster_pairs, gallery.instance_pairs) == ((), (), ())


def test_the_choice_is_the_seed(parts: Parts) -> None:
    assert build(parts) == build(parts)
    assert build(parts) != build(parts, seed=2)
