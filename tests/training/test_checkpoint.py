from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from itkm.errors import InputError
from itkm.files import write_bytes
from itkm.training.checkpoint import PACKAGE, PAUSE, ROOT, SHARE, Checkpoint, differences


@pytest.fixture(autouse=True)
def in_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("table").write_bytes(b"rows")


def make(stage: str = "homogeneous", settings: dict[str, Any] | None = None) -> Checkpoint:
    return Checkpoint(stage, settings=settings or {"seed": 1}, inputs=[Path("table")])


def make_state() -> dict[str, Any]:
    network = nn.Linear(2, 2)
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    history = [{"epoch": 1, "scenario": "vi", "loss": 0.1}]
    parts = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "history": history}
    return {"epoch": 1, "step": 2, **parts}


def test_what_is_saved_is_loaded_bit_for_bit() -> None:
    state = make_state()
    assert make().load() is None
    make().save(state)
    again = make().load()
    assert again is not None
    assert all(torch.equal(value, again["network"][name]) for name, value in state["network"].items())
    assert torch.equal(again["optimiser"]["state"][0]["exp_avg"], state["optimiser"]["state"][0]["exp_avg"])
    assert again["history"] == state["history"]


def test_another_stage_setting_or_input_has_another_folder() -> None:
    make().save(make_state())
    assert make("heterogeneous").load() is None
    assert make(settings={"seed": 2}).load() is None
    assert make(settings={"seed": 1, "more": None}).load() is None
    Path("table").write_bytes(b"other rows")
    assert make().load() is None
    Path("table").write_bytes(b"rows")
    assert make().load() is not None


@pytest.mark.parametrize("damage", [lambda _: b"", lambda _: b"not a state", lambda own: own[: len(own) // 2]])
def test_damaged_state_is_put_aside_and_said(damage: Any, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = make()
    checkpoint.save(make_state())
    file = checkpoint.folder / "state.pt"
    file.write_bytes(damage(file.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert checkpoint.load() is None
    assert "training starts again" in caplog.text
    assert {path.name for path in checkpoint.folder.iterdir()} == {"state.damaged", "made-from.json"}
    checkpoint.save(make_state())
    assert checkpoint.load() is not None


def test_failed_write_keeps_the_last_state_and_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = make()
    checkpoint.save(make_state())

    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as stream:
            stream.write(content[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(InputError, match="disk is full"):
            checkpoint.save({**make_state(), "epoch": 2})
    state = checkpoint.load()
    assert state is not None
    assert state["epoch"] == 1
    assert {path.name for path in checkpoint.folder.iterdir()} == {"state.pt", "made-from.json"}


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_diverged_training_is_refused_and_its_state_forgotten(loss: float) -> None:
    checkpoint = make()
    checkpoint.save(make_state())
    checkpoint.require_finite(3.0, epoch=4)
    assert checkpoint.load() is not None
    said = r"^homogeneous, epoch 5: the loss is not finite: training diverged\. Lower homogeneous\.learning_rate"
    with pytest.raises(InputError, match=said):
        checkpoint.require_finite(loss, epoch=4)
    assert not checkpoint.folder.exists()


def test_finished_stage_forgets_its_state() -> None:
    checkpoint = make()
    checkpoint.remove()
    checkpoint.save(make_state())
    checkpoint.remove()
    assert not checkpoint.folder.exists()


def test_states_that_nobody_came_back_for_are_removed_after_a_week() -> None:
    stale, recent, foreign = make(settings={"seed": 2}), make(settings={"seed": 3}), make("heterogeneous")
    for checkpoint in (stale, recent, foreign):
        checkpoint.save(make_state())
    for checkpoint in (stale, foreign):
        os.utime(checkpoint.folder, (0, 0))
    make().remove()
    assert [checkpoint.folder.exists() for checkpoint in (stale, recent, foreign)] == [False, True, True]


def test_every_difference_of_settings_and_files_is_named() -> None:
    before = {"settings": {"a": {"rate": 0.1, "same": 1}, "gone": 2}, "inputs": {"x": "1", "y": "2"}}
    now = {"settings": {"a": {"rate": 0.2, "same": 1, "more": [3]}}, "inputs": {"y": "3", "z": "4"}}
    assert differences(before, now) == [
        *("a.more was not there, is [3]", "a.rate was 0.1, is 0.2", "gone was 2, is not there"),
        *("x is gone", "z is new", "y differs"),
    ]
    assert differences(before, before) == []


def test_state_of_other_code_is_not_used_and_the_module_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    package = tmp_path / "itkm"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr("itkm.training.checkpoint.PACKAGE", package)
    make().save(make_state())
    assert make().load() is not None
    (package / "report" / "page.py").write_text("")  # no part of any training
    assert make().load() is not None
    for module in ("losses/instance_nce.py", "stages/heterogeneous.py"):
        (package / module).write_text("changed")
    with caplog.at_level(logging.INFO):
        assert make().load() is None
    said = "not resumed: itkm/losses/instance_nce.py differs; itkm/stages/heterogeneous.py differs; starting anew"
    assert said in caplog.messages


def test_what_differs_from_the_newest_state_is_said(caplog: pytest.LogCaptureFixture) -> None:
    for seed in (3, 2):
        make(settings={"seed": seed}).save(make_state())
    os.utime(make(settings={"seed": 3}).folder, (0, 0))
    with caplog.at_level(logging.INFO):
        assert make().load() is None
        assert make("heterogeneous").load() is None
    assert caplog.messages == ["not resumed: seed was 2, is 1; starting anew"]


def test_many_differences_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    make(settings={f"name{number}": 1 for number in range(9)}).save(make_state())
    with caplog.at_level(logging.INFO):
        assert make(settings={f"name{number}": 2 for number in range(9)}).load() is None
    (message,) = caplog.messages
    assert message.count(" was 1, is 2") == 5
    assert message.endswith(" and 4 more; starting anew")


def test_state_of_an_older_version_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    folder = ROOT / "homogeneous-0123456789abcdef"
    folder.mkdir(parents=True)
    torch.save({"epoch": 3}, folder / "state.pt")
    with caplog.at_level(logging.INFO):
        assert make().load() is None
    assert "homogeneous-0123456789abcdef was made by another version; starting anew" in caplog.text


def test_state_that_another_run_left_in_this_folder_is_refused() -> None:
    other, own = make(settings={"seed": 2}), make()
    other.save(make_state())
    other.folder.rename(own.folder)
    with pytest.raises(InputError, match=rf"state\.pt: claims to be of .* it is the state of {other.folder.name}"):
        own.load()


def test_a_full_gpu_is_not_blamed_on_the_state() -> None:
    with pytest.raises(torch.OutOfMemoryError), make().restoring():
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_the_pause_grows_with_what_a_save_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the model, saving takes no more than its share of the time."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    slow = make()

    def write_slowly(path: Path, content: bytes) -> None:
        now[0] += 3.0
        write_bytes(path, content)

    monkeypatch.setattr("itkm.training.checkpoint.write_bytes", write_slowly)
    assert not slow.due()
    now[0] += PAUSE
    assert slow.due()
    slow.save(make_state())
    now[0] += 3.0 / SHARE - 1
    assert not slow.due()
    now[0] += 2
    assert slow.due()
