"""What a stage uses of the machine, sampled while it runs; tracking turns it into MLflow's system metrics."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from itkm.files import write_csv
from itkm.tracking import USAGE

INTERVAL = 5.0  # seconds between two samples
MEGABYTE = 1e6


@contextlib.contextmanager
def sampled(root: Path, stage: str, *, interval: float = INTERVAL) -> Iterator[None]:
    """Samples the machine while the block runs and writes a csv, a row a sample, under MLflow's own names.

    The first sample comes after one interval; a block that is shorter leaves no file. Without psutil nothing is
    sampled.

    Args:
        root: the project's folder; the csv is `.itkm/usage/<stage>.csv` in it, also when the block fails.
        stage: what runs.
        interval: seconds between two samples.
    """
    if find_spec("psutil") is None:
        yield
        return
    file = root / USAGE / f"{stage}.csv"
    rows: list[dict[str, float]] = []
    stop = threading.Event()
    thread = threading.Thread(target=_sample, args=(rows, stop, interval), daemon=True, name="usage")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        file.unlink(missing_ok=True)
        if rows:
            write_csv(file, [{**dict.fromkeys(rows[-1], 0.0), **row} for row in rows])  # a GPU's come later


def _sample(rows: list[dict[str, float]], stop: threading.Event, interval: float) -> None:
    import psutil  # type: ignore[import-untyped]

    psutil.cpu_percent()  # the first call has nothing to compare with
    while not stop.wait(interval):
        memory, disk = psutil.virtual_memory(), psutil.disk_usage(".")
        rows.append(
            {
                "timestamp": time.time(),
                "cpu_utilization_percentage": psutil.cpu_percent(),
                "system_memory_usage_megabytes": memory.used / MEGABYTE,
                "system_memory_usage_percentage": memory.percent,
                "disk_usage_megabytes": disk.used / MEGABYTE,
                "disk_usage_percentage": disk.percent,
                "process_memory_usage_megabytes": psutil.Process().memory_info().rss / MEGABYTE,
                **_gpu(),
            }
        )


def _gpu() -> dict[str, float]:
    """Memory of the GPU in use; empty where there is none, or the stage does not use it."""
    torch = sys.modules.get("torch")  # not imported for this: a stage that needs it has done so
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return {}
    free, total = torch.cuda.mem_get_info()
    used = total - free
    return {
        "gpu_0_memory_usage_megabytes": used / MEGABYTE,
        "gpu_0_memory_usage_percentage": 100 * used / total,
    }
