"""What the page shows in pictures, chosen by rule and seed and not by hand: ranked lists, clusters, matched pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from itkm.errors import InputError
from itkm.evaluation.features import FeatureSet, Names, scored_part
from itkm.evaluation.protocols import Protocol
from itkm.evaluation.quality import majority_persons
from itkm.evaluation.ranking import score

QUERIES_OF_A_KIND = 2
LIST_LENGTH = 8
CLUSTER_MEMBERS = 8
CLUSTER_PAIRS, PAIR_MEMBERS = 4, 4
INSTANCE_PAIRS = 8
KINDS = ("best", "median", "worst")
LISTED = {"zero_shot": "Zero-shot", "heterogeneous": "Stage III"}

Arrays = Mapping[str, NDArray[Any]]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Picture:
    """One image on the page; `right` says whether its mark is a hit or a miss, None where nobody knows."""

    path: str
    alt: str
    right: bool | None = None


@dataclass(frozen=True)
class RankedList:
    """The first images of the gallery for one query, by one model; average precision as a fraction."""

    model: str
    average_precision: float
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Query:
    """One query, its ranked lists, and the number of gallery images to find.

    `kind` is its place among all queries by the final model.
    """

    kind: str
    positives: int
    picture: Picture
    lists: tuple[RankedList, ...]


@dataclass(frozen=True)
class Cluster:
    """One cluster of a group: how many images it has, the share of its majority person, and some members."""

    group: str
    number: int
    size: int
    purity: float | None
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Match:
    """Images of group 0 and the images of group 1 that they were matched with."""

    caption: str
    right: bool | None
    first: tuple[Picture, ...]
    second: tuple[Picture, ...]


@dataclass(frozen=True)
class Gallery:
    """All pictures of one scenario, and which groups ask which others in its ranked lists."""

    scenario: str
    groups: tuple[str, str]
    direction: str
    queries: tuple[Query, ...]
    clusters: tuple[Cluster, ...]
    cluster_pairs: tuple[Match, ...]
    instance_pairs: tuple[Match, ...]

    @property
    def pictures(self) -> list[Picture]:
        """Every picture, in the order of the page."""
        listed = [picture for query in self.queries for own in query.lists for picture in own.pictures]
        members = [picture for cluster in self.clusters for picture in cluster.pictures]
        matches = [*self.cluster_pairs, *self.instance_pairs]
        matched = [picture for match in matches for picture in (*match.first, *match.second)]
        return [*(query.picture for query in self.queries), *listed, *members, *matched]


def build_gallery(
    scenario: str, table: pd.DataFrame, scored: Arrays, final: Arrays, protocol: Protocol, *, seed: int
) -> Gallery:
    """Chooses the pictures of one scenario.

    Args:
        scenario: its name.
        table: its evaluation table, all columns of the manifest.
        scored: arrays of `artifacts/evaluation/<scenario>.npz`; without labelled queries there are no ranked lists.
        final: arrays of `artifacts/heterogeneous/<scenario>.npz`, about the rows of split `train`.
        protocol: decides which gallery images a query sees.
        seed: of the choice.
    """
    rng = np.random.default_rng(seed)
    training = table[table["split"] == "train"].reset_index(drop=True)
    names = [str(training["group"].iloc[np.flatnonzero(final["group"] == number)[0]]) for number in (0, 1)]
    return Gallery(
        scenario=scenario,
        groups=(names[0], names[1]),
        direction=_direction(scored, table),
        queries=tuple(choose_queries(scored, table, protocol, rng)),
        clusters=tuple(cluster for group in (0, 1) for cluster in choose_clusters(training, final, group, rng)),
        cluster_pairs=tuple(choose_cluster_pairs(training, final, rng)),
        instance_pairs=tuple(choose_instance_pairs(training, final, rng)),
    )


def choose_queries(scored: Arrays, table: pd.DataFrame, protocol: Protocol, rng: np.random.Generator) -> list[Query]:
    """Queries with the best, the median and the worst average precision by the final model, each of another person.

    Returns:
        nothing where no query has a valid positive.
    """
    sets = {model: _labelled(scored, model) for model in LISTED}
    try:
        precision = {model: score(*pair, protocol).average_precision for model, pair in sets.items()}
    except InputError:
        return []
    final = precision["heterogeneous"]
    shuffled = rng.permutation(np.flatnonzero(np.isfinite(final)))
    best_first = shuffled[np.argsort(-final[shuffled], kind="stable")]
    from_middle = best_first[np.argsort(np.abs(np.arange(len(best_first)) - len(best_first) // 2), kind="stable")]
    orders = {"best": best_first, "worst": best_first[::-1], "median": from_middle}
    chosen = _distinct(orders, scored["query_person"], QUERIES_OF_A_KIND)
    paths = scored["gallery_path"][scored["gallery_person"] != -1]
    cameras = dict(zip(table["path"], table["camera"], strict=True))
    return [
        Query(
            kind=kind,
            positives=_positives(*sets["heterogeneous"], row, protocol),
            picture=_picture(scored["query_path"][row], "Query", cameras),
            lists=tuple(
                RankedList(title, float(precision[model][row]), _ranked(*sets[model], row, protocol, paths, cameras))
                for model, title in LISTED.items()
            ),
        )
        for kind in KINDS
        for row in chosen[kind]
    ]


def _direction(scored: Arrays, table: pd.DataFrame) -> str:
    """Which groups the queries are of, and which the gallery, whose images of unknown persons nobody sees."""
    group_of = dict(zip(table["path"], table["group"], strict=True))
    known = (scored[f"{part}_path"][scored[f"{part}_person"] != -1] for part in ("query", "gallery"))
    asking, shown = (", ".join(sorted({group_of[path] for path in own})) for own in known)
    return f"{asking} asks {shown}"


def choose_clusters(training: pd.DataFrame, final: Arrays, group: int, rng: np.random.Generator) -> list[Cluster]:
    """The purest, the median and the least pure cluster of a group; any three where no identity is known."""
    rows = np.flatnonzero(final["group"] == group)
    labels, persons = final["labels"][rows], training["person"].to_numpy()[rows]
    majority = majority_persons(labels, persons)
    shares = np.array([_share(persons[labels == number], majority[number]) for number in range(len(majority))])
    shuffled = rng.permutation(len(majority))
    purest_first = shuffled[np.argsort(-shares[shuffled], kind="stable")]
    places = dict.fromkeys([0, len(majority) // 2, len(majority) - 1]) if len(majority) else {}
    clusters = []
    for number in purest_first[list(places)]:
        members = rows[labels == number]
        shown = np.sort(rng.permutation(members)[:CLUSTER_MEMBERS])
        clusters.append(
            Cluster(
                group=str(training["group"].iloc[rows[0]]),
                number=int(number),
                size=len(members),
                purity=float(shares[number]) if np.isfinite(shares[number]) else None,
                pictures=tuple(_member(training, row, int(majority[number])) for row in shown),
            )
        )
    return clusters


def choose_cluster_pairs(training: pd.DataFrame, final: Arrays, rng: np.random.Generator) -> list[Match]:
    """Some pairs of clusters that CHM joined, drawn at random."""
    forth = np.stack([np.arange(len(final["partner_0"])), final["partner_0"]], axis=1)[final["partner_0"] >= 0]
    back = np.stack([final["partner_1"], np.arange(len(final["partner_1"]))], axis=1)[final["partner_1"] >= 0]
    pairs = np.unique(np.concatenate([forth, back]), axis=0)
    persons = training["person"].to_numpy()
    leaders = [majority_persons(np.where(final["group"] == group, final["labels"], -1), persons) for group in (0, 1)]
    matches = []
    for numbers in pairs[_sample(len(pairs), CLUSTER_PAIRS, rng)]:
        rows = [
            np.flatnonzero((final["group"] == group) & (final["labels"] == number))
            for group, number in enumerate(numbers)
        ]
        shown = [_sample(len(own), PAIR_MEMBERS, rng) for own in rows]
        sides = [
            tuple(_member(training, row, None) for row in own[places]) for own, places in zip(rows, shown, strict=True)
        ]
        right = _same(leaders[0][numbers[0]], leaders[1][numbers[1]])
        matches.append(Match(f"clusters {numbers[0]} and {numbers[1]}", right, sides[0], sides[1]))
    return matches


def choose_instance_pairs(training: pd.DataFrame, final: Arrays, rng: np.random.Generator) -> list[Match]:
    """Some pairs of images that IHM joined, drawn at random."""
    persons = training["person"].to_numpy()
    return [
        Match(
            caption=f"cosine {final['pair_score'][place]:.2f}",
            right=_same(persons[first], persons[second]),
            first=(_member(training, first, None),),
            second=(_member(training, second, None),),
        )
        for place in _sample(len(final["pairs"]), INSTANCE_PAIRS, rng)
        for first, second in [final["pairs"][place]]
    ]


def _labelled(scored: Arrays, model: str) -> tuple[FeatureSet, FeatureSet]:
    """Query and gallery of one model; images of unknown persons are not in the gallery, as in the scores."""
    gallery = scored_part(scored, model, "gallery")
    return scored_part(scored, model, "query"), gallery.rows(gallery.person != -1)


def _ranked(
    query: FeatureSet, gallery: FeatureSet, row: int, protocol: Protocol, paths: Names, cameras: Mapping[str, str]
) -> tuple[Picture, ...]:
    """The first gallery images, whose `paths` are given, that the protocol lets this query see."""
    one = query.rows(np.array([row]))
    similarity = gallery.features @ one.features[0]
    similarity[protocol.junk(one, gallery)[0]] = -np.inf
    order = np.argsort(-similarity, kind="stable")[:LIST_LENGTH]
    wanted = one.person[0]
    hits = (gallery.person == wanted) & (wanted != protocol.distractor)
    return tuple(
        _picture(paths[place], f"Rank {rank}", cameras, right=bool(hits[place]))
        for rank, place in enumerate(order, 1)
        if np.isfinite(similarity[place])
    )


def _positives(query: FeatureSet, gallery: FeatureSet, row: int, protocol: Protocol) -> int:
    """How many gallery images show the person of a query, without those that the protocol hides from it."""
    one = query.rows(np.array([row]))
    return int(((gallery.person == one.person[0]) & ~protocol.junk(one, gallery)[0]).sum())


def _distinct(orders: Mapping[str, Integers], persons: Integers, count: int) -> dict[str, list[int]]:
    """The first `count` rows of each order, no person twice over all of them."""
    used: set[int] = set()
    chosen: dict[str, list[int]] = {}
    for kind, order in orders.items():
        chosen[kind] = []
        for row in order:
            if len(chosen[kind]) < count and int(persons[row]) not in used:
                used.add(int(persons[row]))
                chosen[kind].append(int(row))
    return chosen


def _picture(path: str, what: str, cameras: Mapping[str, str], *, right: bool | None = None) -> Picture:
    mark = {True: ", hit", False: ", miss", None: ""}[right]
    return Picture(str(path), f"{what}{mark}: camera {cameras[str(path)]}", right)


def _member(training: pd.DataFrame, row: int, leader: int | None) -> Picture:
    """An image of a cluster; it is right if it shows the cluster's majority person."""
    image = training.iloc[row]
    right = None if leader is None else _same(leader, image["person"])
    mark = {True: ", majority person", False: ", another person", None: ""}[right]
    return Picture(str(image["path"]), f"{image['group']}, camera {image['camera']}{mark}", right)


def _same(first: int, second: int) -> bool | None:
    """Whether two identities are one; None where one is unknown."""
    return None if min(first, second) < 0 else bool(first == second)


def _share(persons: Integers, leader: int) -> float:
    """Share of the known persons that are the leader; NaN where none is known."""
    known = persons[persons >= 0]
    return float((known == leader).mean()) if len(known) else float("nan")


def _sample(size: int, count: int, rng: np.random.Generator) -> Integers:
    """Up to `count` of `size` places, drawn at random, in their order."""
    return np.sort(rng.permutation(size)[:count])
