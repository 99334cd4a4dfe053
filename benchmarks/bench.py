"""`make bench`: what grows with the data, beside the textbook's way (benchmarks/textbook.py), on one thread.

Seconds are those of the CPU, so that other work on the machine disturbs little; the memory is what a step adds at its
peak to its input. Each measurement has a process of its own, and is the median of three where it is short.

The features are random, of 768 values and 20 images a person. `trained`: every person is a cluster. `early`: hardly any
pair is near, and the encodings are several times as long.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy and torch ask for it

import numpy as np
import torch

DIMENSIONS = 768
IMAGES_A_PERSON = 20
NOISE = {"trained": 1.5, "early": 4.0}
QUERIES, GALLERY = 2_000, 15_000
LARGE = {"query": 11_659, "gallery": 82_161}
LONG = 5.0  # seconds from which on one measurement is enough

Step = Callable[[], object]


def features(count: int, kind: str) -> np.ndarray:
    """[count, D] unit features."""
    rng = np.random.default_rng(0)
    points = rng.standard_normal((count, DIMENSIONS), dtype=np.float32)
    points *= NOISE[kind]
    centres = rng.standard_normal((count // IMAGES_A_PERSON, 1, DIMENSIONS), dtype=np.float32)
    points.reshape(-1, IMAGES_A_PERSON, DIMENSIONS)[:] += centres
    points /= np.sqrt(np.einsum("nd,nd->n", points, points))[:, None]
    return points[rng.permutation(count)]


def product(count: int, kind: str) -> Step:
    """The matrix product of all features with all, a block at a time: the limit of everything that compares them."""
    units = torch.from_numpy(features(count, kind))
    block = torch.empty(1_000, count)

    def multiply() -> None:
        for start in range(0, count, len(block)):
            torch.mm(units[start : start + len(block)], units.T, out=block)

    return multiply


def neighbours(count: int, kind: str) -> Step:
    """The 30 nearest of each."""
    from itkm.labelling.neighbours import nearest_neighbours

    points = features(count, kind)
    return lambda: nearest_neighbours(points, 30)


def labels(count: int, kind: str) -> Step:
    """Neighbours, Jaccard graph and DBSCAN."""
    from itkm.labelling.pseudo import pseudo_labels
    from itkm.labelling.settings import LabellingSettings

    points = features(count, kind)
    return lambda: pseudo_labels(points, LabellingSettings())


def textbook_labels(count: int, kind: str) -> Step:
    """Dense distances and scikit-learn's DBSCAN."""
    from sklearn.cluster import DBSCAN
    from textbook import labelling_distances

    points = features(count, kind)
    clusterer = DBSCAN(eps=0.6, min_samples=4, metric="precomputed")
    return lambda: clusterer.fit_predict(labelling_distances(points, 30, 6))


def reranking(count: int, kind: str) -> Step:
    """A fifth asks the rest."""
    from itkm.evaluation.rerank import rerank

    points = features(count, kind)
    queries = count // 5
    return lambda: rerank(points[:queries], points[queries:])(0, queries)


def textbook_reranking(count: int, kind: str) -> Step:
    """The same, dense."""
    from textbook import reranked_distances

    points = features(count, kind)
    return lambda: reranked_distances(points[: count // 5], points[count // 5 :], 20, 6, 0.3)


def given() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Similarities [Q, G] as of good features, and persons and cameras [Q + G]."""
    rng = np.random.default_rng(0)
    persons = 1 + np.concatenate([np.arange(QUERIES), np.arange(GALLERY)]) % (GALLERY // IMAGES_A_PERSON)
    similarity = rng.standard_normal((QUERIES, GALLERY), dtype=np.float32)
    similarity += 2.5 * (persons[:QUERIES, None] == persons[QUERIES:])
    return similarity, persons, rng.integers(6, size=QUERIES + GALLERY)


def evaluation(count: int, kind: str) -> Step:
    """CMC, mAP and mINP of given similarities."""
    from itkm.evaluation.features import FeatureSet
    from itkm.evaluation.protocols import protocol_named
    from itkm.evaluation.ranking import score

    similarity, persons, cameras = given()
    nothing = np.ones((QUERIES + GALLERY, 1), dtype=np.float32)
    everything = FeatureSet(nothing, persons, cameras)
    query, gallery = everything.rows(np.arange(QUERIES)), everything.rows(np.arange(QUERIES, QUERIES + GALLERY))
    protocol = protocol_named("market1501")
    return lambda: score(query, gallery, protocol, similarity=lambda start, stop: similarity[start:stop])


def textbook_evaluation(count: int, kind: str) -> Step:
    """The same by argsort."""
    from textbook import argsort_scores

    similarity, persons, cameras = given()
    halves = [(values[:QUERIES], values[QUERIES:]) for values in (persons, cameras)]
    return lambda: argsort_scores(-similarity, *halves)


STEPS = (product, neighbours, labels, textbook_labels, reranking, textbook_reranking, evaluation, textbook_evaluation)


def measured(step: str, count: int, kind: str) -> tuple[float, float]:
    """CPU seconds, and megabytes at the peak of the first call beyond the input, in this process."""
    torch.set_num_threads(1)
    prepare = {prepare.__name__: prepare for prepare in STEPS}[step]
    work = prepare(count, kind)
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = resident("VmRSS")
    seconds = [seconds_of(work)]
    peak = resident("VmHWM")  # further calls add what the allocator keeps between them
    while seconds[0] < LONG and len(seconds) < 3:
        seconds.append(seconds_of(work))
    return float(np.median(seconds)), peak - before


def seconds_of(work: Step) -> float:
    """CPU seconds of one call."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def resident(which: str) -> float:
    """Megabytes of this process: VmRSS now, VmHWM at the peak."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024


def apart(step: Callable[..., Step], count: int, kind: str = "trained") -> tuple[float, float]:
    """`measured` in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (step.__name__, count, kind))


def compare(what: str, ours: tuple[float, float], textbook: tuple[float, float]) -> None:
    """One line of the table."""
    (seconds, memory), (their_seconds, their_memory) = ours, textbook
    print(
        f"{what:34}{their_seconds:8.2f} s{their_memory:7,.0f} MB{seconds:9.2f} s{memory:7,.0f} MB"
        f"{their_seconds / seconds:8.1f}x{memory / their_memory:8.0%}",
        flush=True,
    )


def score_command() -> tuple[float, float]:
    """CPU seconds and megabytes of all of `itkm score` on files as large as MSMT17's test half.

    The features are noise, the slow case: almost the whole gallery is closer than the worst positive.
    """
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "itkm", "score", "--protocol", "msmt17"]
        for name, count in LARGE.items():
            path = f"{folder}/{name}.npz"
            points = rng.standard_normal((count, DIMENSIONS), dtype=np.float32)
            np.savez(path, features=points, person=np.arange(count) % 3_060, camera=rng.integers(15, size=count))
            command += [f"--{name}", path]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"itkm score: exit {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Prints the table, how the growth compares with that of the matrix product, and what a large set needs."""
    print(f"One thread; CPU seconds, memory beyond the input. Features of {DIMENSIONS} values.\n")
    print(f"{'':34}{'textbook':>18}{'itkm':>21}{'faster':>10}{'memory':>7}")
    size = f"evaluation {QUERIES:,} x {GALLERY:,}"
    compare(size, apart(evaluation, 0), apart(textbook_evaluation, 0))
    for kind, counts in (("trained", (2_000, 5_000, 10_000)), ("early", (10_000,))):
        for count in counts:
            compare(f"labels {count:,} {kind}", apart(labels, count, kind), apart(textbook_labels, count, kind))
    compare("re-ranking 600 x 2,400", apart(reranking, 3_000), apart(textbook_reranking, 3_000))
    print(f"\n{'':16}{'product':>12}{'neighbours':>12}{'of limit':>10}{'labels':>22}")
    for count in (10_000, 20_000, 40_000):
        (limit, _), (near, _), (whole, memory) = (apart(step, count) for step in (product, neighbours, labels))
        print(
            f"{count:9,} images{limit:10.2f} s{near:10.2f} s{limit / near:10.0%}{whole:10.2f} s{memory:7,.0f} MB"
            f"  ({2e-9 * count * count * DIMENSIONS / limit:.0f} GFLOP/s)",
            flush=True,
        )
    seconds, memory = score_command()
    print(f"\nitkm score, {LARGE['query']:,} x {LARGE['gallery']:,}: {seconds:.0f} s, {memory:,.0f} MB in all")


if __name__ == "__main__":
    main()
