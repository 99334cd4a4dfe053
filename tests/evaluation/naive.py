"""Every protocol once more, as plainly as its definition reads: one query, one sorted list, one image at a time."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import numpy as np

from itkm.evaluation.features import FeatureSet

CAMERAS = {  # of queries, of the gallery
    **dict.fromkeys(("sysu-all", "sysu-all-multi"), ((3, 6), (1, 2, 4, 5))),
    **dict.fromkeys(("sysu-indoor", "sysu-indoor-multi"), ((3, 6), (1, 2))),
    **dict.fromkeys(("prcc", "prcc-single"), ((3,), (1,))),
    **dict.fromkeys(("prcc-same", "prcc-single-same"), ((2,), (1,))),
    "vc-clothes-cc": ((3, 4), (3, 4)),
    "vc-clothes-sc": ((2, 3), (2, 3)),
}
COUNTS_PERSONS = ("sysu-all", "sysu-all-multi", "sysu-indoor", "sysu-indoor-multi", "llcm")
WITHOUT_JUNK = ("regdb", "prcc", "prcc-single", "prcc-same", "prcc-single-same", "caviar", "text")
SINGLE_SHOT = ("prcc-single", "prcc-single-same", "caviar", "mlr-single-shot")

Image = tuple[int, int, int]  # person, camera, clothes


def image(images: FeatureSet, row: int) -> Image:
    assert images.clothes is not None
    return int(images.person[row]), int(images.camera[row]), int(images.clothes[row])


def is_junk(name: str, asking: Image, shown: Image) -> bool:
    same_person, same_camera, same_clothes = (asking[part] == shown[part] for part in range(3))
    if name.startswith("sysu"):
        return asking[1] == 3 and shown[1] == 2
    if name in WITHOUT_JUNK:
        return False
    if name == "ltcc-cc":
        return same_person and (same_camera or same_clothes)
    if name == "ltcc-sc":
        return same_person and (same_camera or not same_clothes)
    return same_person and same_camera


def galleries(name: str, gallery: FeatureSet, rows: list[int]) -> Iterator[list[int]]:
    """The rows of every trial."""
    assert gallery.path is not None
    images = [(int(gallery.person[row]), int(gallery.camera[row]), str(gallery.path[row]), row) for row in rows]
    persons, cameras = sorted({own[0] for own in images}), sorted({own[1] for own in images})
    if not (name.startswith(("sysu", "llcm")) or name in SINGLE_SHOT):
        yield rows
        return
    random.seed(3)
    for trial in range(10):
        if not name.startswith("prcc"):
            random.seed(trial)
        drawn = []
        for person in persons:
            if name in SINGLE_SHOT:
                drawn.append(random.choice(sorted(own[2:] for own in images if own[0] == person)))
                continue
            for camera in cameras:
                files = sorted(own[2:] for own in images if own[:2] == (person, camera))
                if files and name.endswith("multi"):
                    drawn += random.sample(files, min(10, len(files)))
                elif files:
                    drawn.append(random.choice(files))
        yield sorted(row for _, row in drawn)


def ranked(name: str, query: FeatureSet, gallery: FeatureSet, q: int, rows: list[int]) -> tuple[list[int], list[int]]:
    """What the query sees, best first, and the rank of every positive."""
    person = int(query.person[q])
    nobody = person == -1 or (name == "market1501" and person == 0)
    similarity = gallery.features @ query.features[q]
    seen = [g for g in rows if not is_junk(name, image(query, q), image(gallery, g))]
    seen.sort(key=lambda g: (-similarity[g], g))
    return seen, [rank for rank, g in enumerate(seen, 1) if gallery.person[g] == person and not nobody]


def naive_scores(name: str, query: FeatureSet, gallery: FeatureSet) -> dict[str, object] | None:
    """What `score` should say, or None where it should refuse."""
    query_cameras, gallery_cameras = CAMERAS.get(name, ((), ()))
    asking = [q for q in range(len(query)) if not query_cameras or query.camera[q] in query_cameras]
    rows = [g for g in range(len(gallery)) if gallery.person[g] != -1]
    rows = [g for g in rows if not gallery_cameras or gallery.camera[g] in gallery_cameras]
    if not asking or not rows:
        return None
    drawn = list(galleries(name, gallery, rows))
    precise = [rows] if name == "mlr-single-shot" else drawn
    precisions, penalties = [], []
    by_query: dict[int, list[float]] = {q: [] for q in asking}
    for trial in precise:
        ranks = {q: ranked(name, query, gallery, q, trial)[1] for q in asking}
        for q, own in ranks.items():
            if own:
                by_query[q].append(sum(hit / rank for hit, rank in enumerate(own, 1)) / len(own))
        scored = [own for own in ranks.values() if own]
        if scored:
            precisions.append(sum(sum(h / r for h, r in enumerate(own, 1)) / len(own) for own in scored) / len(scored))
            penalties.append(sum(len(own) / own[-1] for own in scored) / len(scored))
    curves = []
    firsts: dict[int, list[int]] = {q: [] for q in asking}
    for trial in drawn:
        hits = []
        for q in asking:
            seen, ranks = ranked(name, query, gallery, q, trial)
            if ranks:
                before = {int(gallery.person[g]) for g in seen[: ranks[0] - 1]}
                hits.append(len(before) + 1 if name in COUNTS_PERSONS else ranks[0])
                firsts[q].append(ranks[0])
        if hits:
            curves.append([sum(hit <= rank for hit in hits) / len(hits) for rank in range(1, 21)])
    if not precisions or not curves:
        return None
    varying = {"rank1": [curve[0] for curve in curves], "mAP": precisions, "mINP": penalties}
    return {
        "queries": len(asking),
        "skipped": sum(not own for own in by_query.values()),
        "gallery": len(precise[0]),
        "cmc": np.mean(curves, axis=0),
        "mAP": np.mean(precisions),
        "mINP": np.mean(penalties),
        "average_precision": [np.mean(by_query[q]) if by_query.get(q) else np.nan for q in range(len(query))],
        "first_rank": [np.mean(firsts[q]) if firsts.get(q) else 0 for q in range(len(query))],
        "deviation": {name: np.std(values) for name, values in varying.items() if len(values) > 1},
        "rank1_closed_form": chance(name, query, gallery, asking, rows) if name in SINGLE_SHOT else None,
    }


def chance(name: str, query: FeatureSet, gallery: FeatureSet, asking: list[int], rows: list[int]) -> float:
    """Rank-1 over every gallery that could be drawn: one image that is not junk of each person."""
    chances = []
    for q in asking:
        seen, ranks = ranked(name, query, gallery, q, rows)
        if ranks:
            persons = [[g for g in seen if gallery.person[g] == p] for p in sorted(set(gallery.person[seen].tolist()))]
            best = [min(drawn, key=seen.index) for drawn in itertools.product(*persons)]
            chances.append(np.mean([gallery.person[g] == query.person[q] for g in best]))
    return float(np.mean(chances))
