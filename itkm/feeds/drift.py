"""Whether a feed looks different to the model: against the accepted cameras, and measured by how they differ already.

Any new camera separates from the others, so a classifier that tells it apart says nothing by itself. What counts is
whether it stands farther off than the accepted cameras stand from each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Features = NDArray[np.float32]

SAMPLE = 300  # images of each side: their kernel is squared
FEWEST = 20  # images that say something of a camera
PERMUTATIONS = 200
COMPONENTS = 32  # principal components that the classifier sees; more only fit noise


@dataclass(frozen=True)
class Drift:
    """How far a feed stands from the accepted images of its scenario and group.

    Attributes:
        auc: of a classifier that tells feed and accepted images apart, cross-validated; .5 = not at all, 1 = always.
        baseline_auc: the largest such value of an accepted camera against the other accepted ones.
        mmd: squared maximum mean discrepancy between feed and accepted images, unbiased [Gretton et al. 2012].
        baseline_mmd: the largest such value of an accepted camera against the other accepted ones.
        p: share of random splits of these images into two that reach that discrepancy.
    """

    auc: float
    baseline_auc: float
    mmd: float
    baseline_mmd: float
    p: float

    @property
    def ratio(self) -> float:
        """The discrepancy in units of the baseline; 0 where chance explains it (p of .05 and above).

        Also 0 where the feed is no easier to tell apart than an accepted camera is.
        """
        if self.p >= 0.05 or self.auc <= self.baseline_auc:
            return 0.0
        return self.mmd / max(self.baseline_mmd, 1e-9)


def measure_drift(feed: Features, accepted: Features, cameras: NDArray[np.str_], *, seed: int = 0) -> Drift | None:
    """Drift of a feed; None where fewer than two accepted cameras, or the feed, have `FEWEST` images.

    Args:
        feed: [N, D] features of the feed's images, of any norm but zero.
        accepted: [M, D] of the accepted images.
        cameras: [M] names.
        seed: of the samples, folds and permutations.
    """
    names, counts = np.unique(cameras, return_counts=True)
    known = names[counts >= FEWEST]
    if len(known) < 2 or len(feed) < FEWEST:
        return None
    rng = np.random.default_rng(seed)
    unit = _unit(accepted)
    pairs = [(_unit(feed), unit), *((unit[cameras == name], unit[cameras != name]) for name in known)]
    sampled = [(_sample(own, rng), _sample(others, rng)) for own, others in pairs]
    aucs = [domain_auc(own, others, seed=seed) for own, others in sampled]
    mmd, p = discrepancy(*sampled[0], rng, permutations=PERMUTATIONS)
    baseline = max(discrepancy(*pair, rng)[0] for pair in sampled[1:])
    return Drift(auc=aucs[0], baseline_auc=max(aucs[1:]), mmd=mmd, baseline_mmd=baseline, p=p)


def domain_auc(first: Floats, second: Floats, *, seed: int) -> float:
    """Area under the ROC curve of a logistic regression that tells two samples apart, over five folds."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    images = np.concatenate([first, second])
    side = np.repeat([0, 1], [len(first), len(second)])
    components = min(COMPONENTS, images.shape[1], len(images) // 2)
    classifier = make_pipeline(PCA(components, random_state=seed), StandardScaler(), LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    scores = cross_val_predict(classifier, images, side, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(side, scores))


def gaussian_kernel(images: Floats) -> Floats:
    """Gaussian kernel [N, N] of unit rows; its width is the median distance."""
    distances = np.maximum(2 - 2 * images @ images.T, 0)
    width = np.median(distances[np.triu_indices(len(images), 1)])
    return np.asarray(np.exp(-distances / max(width, 1e-9)))


def discrepancies(kernel: Floats, first: NDArray[np.bool_]) -> Floats:
    """Squared MMD [P] between the rows of a kernel [N, N] inside and outside of P sets [N, P], all of one size.

    Without the bias of each row's equality with itself: the diagonal is all ones.
    """
    inside, outside = first.astype(float), (~first).astype(float)
    n, m = int(first[:, 0].sum()), int((~first[:, 0]).sum())
    within = ((inside * (kernel @ inside)).sum(0) - n) / (n * (n - 1))
    without = ((outside * (kernel @ outside)).sum(0) - m) / (m * (m - 1))
    between = (inside * (kernel @ outside)).sum(0) / (n * m)
    return np.asarray(within + without - 2 * between)


def discrepancy(
    first: Floats, second: Floats, rng: np.random.Generator, *, permutations: int = 0
) -> tuple[float, float]:
    """Squared MMD between two samples, and the share of random splits, the true one among them, that reach it."""
    true = np.repeat([True, False], [len(first), len(second)])
    splits = np.stack([true, *(rng.permutation(true) for _ in range(permutations))], axis=1)
    found = discrepancies(gaussian_kernel(np.concatenate([first, second])), splits)
    return float(found[0]), float(np.mean(found >= found[0]))


def _sample(images: Floats, rng: np.random.Generator) -> Floats:
    return images[rng.permutation(len(images))[:SAMPLE]]


def _unit(features: Features) -> Floats:
    values = features.astype(np.float64)
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True))
