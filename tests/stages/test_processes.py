"""Stages I and III in two processes: the losses, labels and memories of one, and an end that can be gone on from."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml

from itkm.config import Settings
from itkm.errors import InputError
from itkm.stages import heterogeneous, homogeneous
from itkm.stages.layout import Layout
from together import run_joined
from toy import make_settings
from watched import watch

pytestmark = pytest.mark.slow  # each test starts processes that train together

SOURCE = Path(__file__).parents[2]


@pytest.mark.parametrize(("stage", "output"), [(homogeneous, "homogeneous"), (heterogeneous, "model")])
def test_two_processes_learn_what_one_does(project: Layout, tmp_path: Path, stage: ModuleType, output: str) -> None:
    expected, _ = watch(stage, project)
    weights = project.root / "artifacts" / output / "model.safetensors"
    labels = project.root / "artifacts" / stage.__name__.rpartition(".")[2] / "vi.npz"
    shutil.copy(labels, tmp_path / "alone.npz")
    weights.unlink()
    labels.unlink()
    (losses, states), (others, same) = run_joined(lambda: watch(stage, project), tmp_path)
    assert len(losses) == 4
    assert losses == pytest.approx(expected, rel=1e-4)
    assert others == losses
    assert states == same  # to the last bit
    assert weights.exists()
    with np.load(tmp_path / "alone.npz") as alone, np.load(labels) as shared:
        assert (alone["epoch_labels"] == shared["epoch_labels"]).all()


def test_only_the_first_process_writes_and_speaks(project: Layout, tmp_path: Path) -> None:
    """Not one file is opened for writing by the other."""

    def work() -> list[str]:
        written: list[str] = []
        with pytest.MonkeyPatch.context() as patch, contextlib.chdir(project.root):
            replace = Path.replace
            patch.setattr(Path, "replace", lambda own, to: [written.append(str(to)), replace(own, to)][1])
            handler = logging.Handler()
            handler.emit = lambda record: written.append(record.getMessage())  # type: ignore[method-assign]
            logging.getLogger("itkm").addHandler(handler)
            logging.getLogger("itkm").setLevel(logging.INFO)
            homogeneous.run(make_settings(project.root), project)
        return written

    first, second = run_joined(work, tmp_path)
    assert any(name.endswith("model.safetensors") for name in first)
    assert any(line.startswith("homogeneous 2/2") for line in first)
    assert second == []


def refused(settings: Settings, project: Layout, folder: Path) -> list[str]:
    """Why Stage I ends in each process: the message of bad input, the name of any other error, "" where it does not."""

    def work() -> str:
        with contextlib.chdir(project.root):
            try:
                homogeneous.run(settings, project)
            except InputError as error:
                return str(error)
            except Exception as error:
                return type(error).__name__
        return ""

    return run_joined(work, folder)


def test_what_is_wrong_with_the_labels_is_said(project: Layout, tmp_path: Path) -> None:
    settings = make_settings(project.root, labelling={"eps": 1e-6, "min_samples": 30})
    first, second = refused(settings, project, tmp_path)
    assert "no group has two clusters" in first
    assert second == "ItkmError"


def test_a_diverged_training_ends_in_every_process_with_the_same_message(project: Layout, tmp_path: Path) -> None:
    settings = make_settings(project.root, homogeneous={"epochs": 1, "learning_rate": 1e37, "warmup": 0.0})
    first, second = refused(settings, project, tmp_path)
    assert first == second
    assert "homogeneous, epoch 1: the loss is not finite" in first


def write_params(layout: Layout, *, epochs: int) -> None:
    settings = make_settings(Path(), homogeneous={"epochs": epochs})
    (layout.root / "params.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))


@contextlib.contextmanager
def torchrun(layout: Layout, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """`torchrun` with two processes, and the file with all that they say."""
    said = layout.root / "said"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *options]
    command += ["-m", "itkm", "run", "homogeneous"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    with said.open("wb") as stream:
        process = subprocess.Popen(command, cwd=layout.root, env=environment, stdout=stream, stderr=stream)
        try:
            yield process, said
        finally:
            process.terminate()
            process.wait(60)


def wait_for(said: Path, text: str, process: subprocess.Popen[bytes], *, seconds: float = 240) -> None:
    until = time.monotonic() + seconds
    while text not in said.read_text():
        assert time.monotonic() < until and process.poll() is None, said.read_text()
        time.sleep(0.2)


def workers(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes that `torchrun` started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [pid for pid in map(int, children) if b"itkm" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_killed_process_ends_the_run_and_an_elastic_restart_goes_on(project: Layout) -> None:
    write_params(project, epochs=1000)
    with torchrun(project) as (process, said):
        wait_for(said, "homogeneous 1/1000", process)
        os.kill(workers(process)[1], signal.SIGKILL)
        assert process.wait(120) != 0
        assert "SIGKILL" in said.read_text()
    with torchrun(project, "--max-restarts", "1") as (process, said):
        until = time.monotonic() + 240
        while not list((project.root / ".itkm" / "checkpoints").glob("*/state.pt")):
            assert time.monotonic() < until and process.poll() is None, said.read_text()
            time.sleep(0.2)
        os.kill(workers(process)[0], signal.SIGKILL)
        wait_for(said, "going on after epoch", process)
        epoch = int(said.read_text().rpartition("going on after epoch ")[2].partition(",")[0])
        wait_for(said, f"homogeneous {epoch + 2}/1000", process)


def test_torchrun_ends_well(project: Layout) -> None:
    write_params(project, epochs=2)
    shutil.rmtree(project.homogeneous)
    with torchrun(project) as (process, said):
        assert process.wait(300) == 0, said.read_text()
        assert said.read_text().count("homogeneous 2/2") == 1
    assert (project.homogeneous / "model.safetensors").exists()
