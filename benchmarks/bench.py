"""`make bench`: seconds and peak memory of what grows with the data, on this machine, each in a process of its own.

Random features stand in for real ones: sizes decide the cost, not the values' meaning.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable

import numpy as np
import torch

DIMENSIONS = 256
IMAGES_A_PERSON = 8


def features(count: int) -> np.ndarray:
    """Unit features [count, D] in clusters of `IMAGES_A_PERSON`."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(count // IMAGES_A_PERSON, DIMENSIONS))
    points = np.repeat(centres, IMAGES_A_PERSON, axis=0) + 0.5 * rng.normal(size=(count, DIMENSIONS))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def label(count: int) -> Callable[[], object]:
    """Pseudo-labels: neighbours, Jaccard graph, DBSCAN."""
    from itkm.labelling.pseudo import pseudo_labels
    from itkm.labelling.settings import LabellingSettings

    points = features(count)
    return lambda: pseudo_labels(points, LabellingSettings())


def score(count: int) -> Callable[[], object]:
    """CMC, mAP and mINP of a tenth as queries."""
    from itkm.evaluation.features import FeatureSet
    from itkm.evaluation.protocols import protocol_named
    from itkm.evaluation.ranking import score as rank

    everything = FeatureSet(features(count), np.arange(count) // IMAGES_A_PERSON, np.arange(count) % IMAGES_A_PERSON)
    queries = everything.rows(np.arange(0, count, 10))
    return lambda: rank(queries, everything, protocol_named("market1501"))


CASES = ((label, 2_000), (label, 10_000), (score, 2_000), (score, 10_000))


def measure(case: int) -> str:
    """One line: what, how many, seconds, and the memory that it added at its peak."""
    torch.set_num_threads(1)
    prepare, count = CASES[case]
    work = prepare(count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    work()
    seconds = time.perf_counter() - begun
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return f"{prepare.__name__:8} {count:7,} images  {seconds:7.2f} s  {megabytes:6.0f} MB"


def main() -> None:
    """Measures every case."""
    context = multiprocessing.get_context("spawn")
    for case in range(len(CASES)):
        with context.Pool(1) as pool:
            print(pool.apply(measure, (case,)), flush=True)


if __name__ == "__main__":
    main()
