"""What a stage uses of the machine."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
import pytest

from itkm.usage import sampled

pytest.importorskip("psutil")


def fail_later() -> None:
    time.sleep(0.3)
    raise ZeroDivisionError


def test_a_stage_is_sampled_while_it_runs_even_if_it_fails(tmp_path: Path) -> None:
    before = time.time()
    with pytest.raises(ZeroDivisionError), sampled(tmp_path, "homogeneous", interval=0.01):
        fail_later()
    table = pd.read_csv(tmp_path / ".itkm" / "usage" / "homogeneous.csv")
    assert len(table) >= 2
    assert table["timestamp"].is_monotonic_increasing and before < table["timestamp"].min()
    assert table["cpu_utilization_percentage"].between(0, 100).all()
    assert (table["process_memory_usage_megabytes"] > 10).all()


def test_a_short_stage_leaves_no_file_not_even_an_old_one(tmp_path: Path) -> None:
    file = tmp_path / ".itkm" / "usage" / "prepare-vi.csv"
    file.parent.mkdir(parents=True)
    file.write_text("old")
    with sampled(tmp_path, "prepare-vi", interval=60):
        pass
    assert not file.exists()


def test_without_psutil_nothing_is_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("itkm.usage.find_spec", lambda name: None)
    with sampled(tmp_path, "cluster-vi", interval=0.01):
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []
