"""`itkm score`: CMC, mAP, mINP and verification of any features under a named protocol."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from itkm.cli.options import FILE
from itkm.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from itkm.evaluation.features import FeatureSet
    from itkm.evaluation.ranking import Scores
    from itkm.evaluation.similarity import Similarity

COLUMNS = {
    **{"rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "rank20": "rank-20"},
    **{"mAP": "mAP", "mINP": "mINP"},
}


@click.command()
@click.option("--query", "query_file", required=True, type=FILE, help="Features that ask, a .npz file.")
@click.option("--gallery", "gallery_file", required=True, type=FILE, help="Features that answer, a .npz file.")
@click.option("--protocol", "name", required=True, help="How it is counted; the number carries this name.")
@click.option("--rerank", is_flag=True, help="Re-rank by k-reciprocal neighbours first.")
@click.option("--flip", is_flag=True, help="Average the features of images and of their mirror images first.")
@click.option("--draw", type=FILE, help="SYSU-MM01: take the galleries of the authors' rand_perm_cam.mat.")
@click.option("--per-query", "table", type=FILE, help="Write a csv with a line for each query.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; fractions of 1.")
def score(
    query_file: Path,
    gallery_file: Path,
    name: str,
    rerank: bool,
    flip: bool,
    draw: Path | None,
    table: Path | None,
    as_json: bool,
) -> None:
    """Score the features of any model: rank the gallery for every query.

    A file holds `features` [N, D], `person` [N] and `camera` [N], and where a protocol needs them `clothes` [N], `path`
    [N] and, for --flip, `flipped` [N, D]: what `itkm embed` or numpy.savez writes.

    \b
    Protocols:
      cross-group (your own data), market1501, msmt17, text,
      sysu-all, sysu-all-multi, sysu-indoor, sysu-indoor-multi, regdb, llcm,
      prcc, prcc-single, prcc-same, prcc-single-same, ltcc, ltcc-cc, ltcc-sc,
      vc-clothes, vc-clothes-cc, vc-clothes-sc, mlr-single-shot, caviar

    \b
    Examples:
      itkm score --query query.npz --gallery gallery.npz --protocol market1501
      itkm score --query query.npz --gallery gallery.npz --protocol sysu-all --json
      itkm score --query query.npz --gallery gallery.npz --protocol cross-group --rerank --per-query queries.csv
    """
    from itkm.evaluation.protocols import protocol_named, with_published_draw
    from itkm.evaluation.ranking import score_as_published
    from itkm.files import write_csv

    protocol = protocol_named(name)
    if draw is not None:
        protocol = with_published_draw(protocol, draw)
    query, gallery = (_read(file, flip=flip) for file in (query_file, gallery_file))
    scores = score_as_published(query, gallery, protocol, compare=_reranked if rerank else None, verification=True)
    if table is not None:
        write_csv(table, _lines(query, protocol.asking(query), scores))
    result = {**scores.as_dict(), "rerank": rerank, "flip": flip}
    click.echo(json.dumps(result, allow_nan=False) if as_json else _result(result, protocol.about))


def _read(file: Path, *, flip: bool) -> FeatureSet:
    """The features to compare; what is wrong with them names the file."""
    from itkm.evaluation.features import FeatureSet

    images = FeatureSet.load(file)
    try:
        compared = images.averaged() if flip else images
        compared.require_directions()
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    return compared


def _reranked(query: FeatureSet, gallery: FeatureSet) -> Similarity:
    from itkm.evaluation.rerank import rerank
    from itkm.evaluation.similarity import require_one_width

    require_one_width(query, gallery)
    return rerank(query.features, gallery.features)


def _lines(query: FeatureSet, asking: NDArray[np.int64], scores: Scores) -> list[dict[str, object]]:
    """A line for each query that asks; empty cells where it was skipped or its file is unknown."""
    lines: list[dict[str, object]] = []
    for row in asking:
        precision, rank = float(scores.average_precision[row]), float(scores.first_rank[row])
        skipped = math.isnan(precision)
        lines.append(
            {
                "path": "" if query.path is None else query.path[row],
                "person": query.person[row],
                "camera": query.camera[row],
                "average_precision": "" if skipped else f"{precision:.6f}",
                "first_rank": "" if skipped else f"{rank:g}",
                "skipped": str(skipped).lower(),
            }
        )
    return lines


def _result(result: Mapping[str, Any], about: str) -> str:
    """The object of --json for people: the protocol, then a line of numbers for each direction, then thresholds."""
    prepared = [name for name, done in (("re-ranked", result["rerank"]), ("flip-averaged", result["flip"])) if done]
    lines = [f"protocol {result['protocol']}: {about}", *([", ".join(prepared)] if prepared else []), *_numbers(result)]
    if "reverse" in result:
        lines += ["", "the gallery asks:", *_numbers(result["reverse"])]
    return "\n".join(lines)


def _numbers(scores: Mapping[str, Any]) -> list[str]:
    """One direction: what was ranked, CMC, mAP, mINP, and what is known beside."""
    lines = [
        f"{scores['queries']:,} queries ({scores['skipped']:,} skipped), {scores['gallery']:,} gallery images"
        + (f", mean of {scores['trials']} draws" if "trials" in scores else ""),
        "".join(f"{title:>9}" for title in COLUMNS.values()),
        "".join(f"{100 * scores[name]:9.2f}" for name in COLUMNS),
    ]
    if "deviation" in scores:
        spread = scores["deviation"]
        lines.append("".join(f"{'±' + format(100 * spread[n], '.2f') if n in spread else '':>9}" for n in COLUMNS))
    if "rank1_closed_form" in scores:
        lines.append(f"rank-1 over every draw, in closed form: {100 * scores['rank1_closed_form']:.2f}")
    return [*lines, "same person?", *map(_point, scores["verification"])]


def _point(point: Mapping[str, Any]) -> str:
    """One threshold."""
    if point["threshold"] is None:
        return f"  FPR {point['fpr']:.0e}: no threshold keeps to it"
    return f"  FPR {point['fpr']:.0e}: TPR {100 * point['tpr']:.2f} from similarity {point['threshold']:.4f} on"
