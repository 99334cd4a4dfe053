"""How fast a feed is claimed, decoded, profiled and compared, and in how much memory.

`python benchmarks/feeds.py [IMAGES]`. The crops are those of a rendered camera, moved, brightened and noisy, so that no
two are the same. Where other work holds the cores, CPU seconds tell more than seconds.
"""

from __future__ import annotations

import importlib
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from itkm.cli.feed import PATTERN
from itkm.feeds.compare import compare
from itkm.feeds.feed import Feed
from itkm.feeds.intake import claim, sort_files
from itkm.feeds.thresholds import Reference
from itkm.files import locked

sys.path.append(str(Path(__file__).parents[1] / "tests" / "feeds"))  # the generator of feeds
IMAGES = 5_000


def seconds_of_all() -> float:
    """CPU seconds of this process and of its workers that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def peak(who: int) -> float:
    """MB of this process, or of the largest of its workers."""
    return resource.getrusage(who).ru_maxrss / 1024


def main(images: int) -> None:
    """Measures a feed of that many crops."""
    faults = importlib.import_module("faults")
    with tempfile.TemporaryDirectory() as name:
        source, folder = Path(name, "drop"), Path(name, "feed")
        source.mkdir()
        for file, content in faults.variations(faults.clean_drop("vi", "vi-c1"), images):
            (source / file).write_bytes(content)
        before = peak(resource.RUSAGE_SELF)
        feed = Feed("vi-c1", "vi", "visible", source="", claimed_at="")
        start, busy = time.perf_counter(), seconds_of_all()
        with locked(folder):
            feed = claim(source, folder, feed, pattern=PATTERN)
            claimed = time.perf_counter() - start
            feed, profile = sort_files(folder, feed, pattern=PATTERN, progress=lambda rows, total: rows)
        sorted_in = time.perf_counter() - start - claimed
        busy = seconds_of_all() - busy
        start = time.perf_counter()
        profile = compare(profile, Reference.empty())
        compared = time.perf_counter() - start
    print(f"{images:,} crops: claimed in {claimed:.2f} s, decoded, measured and sorted in {sorted_in:.1f} s")
    print(f"  {images / sorted_in:.0f} images/s; {images / busy:.0f} images a CPU second of one core")
    print(f"  busy cores {busy / (claimed + sorted_in):.2f} of {os.cpu_count()}; near duplicates in {compared:.2f} s")
    print(f"  peak memory {peak(resource.RUSAGE_SELF):.0f} MB ({before:.0f} before), of a worker", end=" ")
    print(f"{peak(resource.RUSAGE_CHILDREN):.0f} MB at most")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
