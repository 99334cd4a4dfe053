"""`itkm label`: pseudo-labels of any features, from any model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from itkm.cli.options import FILE
from itkm.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@click.command()
@click.argument("file", metavar="F.npz", type=FILE)
@click.option("--out", required=True, type=FILE, help="The .npy of labels that is written.")
@click.option("--method", default="dbscan", show_default=True, type=click.Choice(["dbscan", "hdbscan"]))
@click.option(
    "--eps",
    default=0.6,
    show_default=True,
    type=float,
    help="Largest Jaccard distance between neighbours; hdbscan counts what is farther as 1.",
)
@click.option(
    "--k1", default=30, show_default=True, type=click.IntRange(1), help="Neighbours of an image, with itself."
)
@click.option(
    "--k2", default=6, show_default=True, type=click.IntRange(1), help="Those of them that are averaged; 1 = none."
)
@click.option(
    "--min-samples",
    default=4,
    show_default=True,
    type=click.IntRange(2),
    help="Images within eps that begin a cluster, with itself; hdbscan: also the smallest cluster.",
)
def label(file: Path, out: Path, method: str, eps: float, k1: int, k2: int, min_samples: int) -> None:
    """Cluster the features of any model by their k-reciprocal Jaccard distance.

    F.npz holds `features` [N, D] of any norm: what `itkm embed` or numpy.savez writes; other columns are not read. The
    .npy holds a label for each row, int64: dense from 0, -1 = in no cluster.

    \b
    Examples:
      itkm label features.npz --out labels.npy
      itkm label features.npz --method hdbscan --eps 0.8 --out labels.npy
      itkm label few.npz --k1 10 --k2 3 --out labels.npy
    """
    import numpy as np
    import torch

    from itkm.files import replacing
    from itkm.labelling.pseudo import pseudo_labels
    from itkm.labelling.settings import LabellingSettings

    if not 0 < eps < 1:
        raise InputError(f"--eps: expected a number between 0 and 1, both excluded, found {eps}.")
    options: dict[str, Any] = {"method": method, "eps": eps, "k1": k1, "k2": k2, "min_samples": min_samples}
    features = torch.from_numpy(_read(file)).to("cuda" if torch.cuda.is_available() else "cpu")
    try:
        labels = pseudo_labels(features, LabellingSettings(**options))
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    zeros = (~features.any(dim=1)).nonzero()[:, 0]
    if len(zeros):
        click.echo(
            f"warning: {file}: row {int(zeros[0])} is all zeros ({len(zeros)} such rows). It is equally far from every "
            "other row, so that its label means nothing: extract these images again.",
            err=True,
        )
    with replacing(out) as temporary, temporary.open("wb") as target:
        np.save(target, labels, allow_pickle=False)
    click.echo(f"{out}: {len(labels):,} images, {labels.max() + 1:,} clusters, {(labels < 0).mean():.1%} outliers")
    if labels.max() < 0:
        click.echo(_why_no_cluster(method), err=True)


def _why_no_cluster(method: str) -> str:
    """What to try where all images are outliers."""
    remedy = "raise --eps, or lower --min-samples"
    if method == "hdbscan":
        return (
            "hdbscan found no two clusters, and one alone it never returns, even of equal images: if all may be of one "
            f"person, use --method dbscan; else {remedy}."
        )
    return f"No image is near enough to others: {remedy}."


def _read(file: Path) -> NDArray[np.float32]:
    """The column `features` of a `.npz`, without any pickle.

    Raises:
        InputError: no such file, not such a file, no such column, or not a matrix of floats.
    """
    import numpy as np

    from itkm.evaluation.features import opened, widened

    with opened(file, expected="`features`") as archive:
        if "features" not in archive:
            raise InputError(f"{file}: no column `features`, found {', '.join(archive) or 'none'}.")
        features = np.asarray(archive["features"])
    if features.ndim != 2 or not np.issubdtype(features.dtype, np.floating):
        raise InputError(
            f"{file}: features: expected a matrix [N, D] of floats, found shape {features.shape} of {features.dtype}."
        )
    return widened("features", features)
