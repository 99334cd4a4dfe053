from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from itkm.errors import InputError
from itkm.training.checkpoint import Checkpoint


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
    return {"epoch": 1, "network": network.state_dict(), "optimiser": optimiser.state_dict(), "history": history}


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
    assert [path.name for path in checkpoint.folder.iterdir()] == ["state.damaged"]
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
    assert [path.name for path in checkpoint.folder.iterdir()] == ["state.pt"]


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
