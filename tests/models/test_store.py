from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from itkm.errors import InputError
from itkm.models.clip import save_demo
from itkm.models.encoder import Encoder
from itkm.models.store import ModelCard, build_encoder, load_model, make_card, save_model
from toy import make_clip, make_settings

GROUPS = {"vi": ("visible", "infrared"), "cc": ("outfit-a", "outfit-b"), "ab": ("x", "y")}
IMAGES = torch.rand(4, 3, 32, 16, generator=torch.Generator().manual_seed(0))
SCENARIO, GROUP = torch.tensor([0, 1, 2, 0]), torch.tensor([0, 1, 0, 1])


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Encoder, Path]:
    """An encoder whose parts all differ, and the folder that it was saved in; the demo's folder is gone."""
    clip, config = make_clip()
    save_demo(clip, config, tmp_path / "models" / "demo")
    settings = make_settings(tmp_path).model
    encoder, frozen = build_encoder(settings, tuple(GROUPS))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    save_model(encoder, frozen, make_card(settings, GROUPS), tmp_path / "model")
    shutil.rmtree(tmp_path / "models")
    return encoder.eval(), tmp_path / "model"


def test_round_trip_is_exact_and_needs_no_other_file(saved: tuple[Encoder, Path]) -> None:
    encoder, folder = saved
    again, clip, card = load_model(folder)
    state = again.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())
    with torch.no_grad():
        for mine, theirs in zip(encoder(IMAGES, SCENARIO, GROUP), again(IMAGES, SCENARIO, GROUP), strict=True):
            assert torch.equal(mine, theirs)
    assert clip.text.encode(["a person"]).shape == (1, 16)
    assert card.model.height == 32


def test_scenarios_keep_the_order_that_numbers_them(saved: tuple[Encoder, Path]) -> None:
    """A sorted config.json would give every scenario another one's embedding."""
    again, _, card = load_model(saved[1])
    assert list(card.scenarios.items()) == list(GROUPS.items())
    assert again.scenarios == tuple(GROUPS)


def test_encoder_and_frozen_clip_share_nothing(tmp_path: Path) -> None:
    clip, config = make_clip()
    save_demo(clip, config, tmp_path / "models" / "demo")
    encoder, frozen = build_encoder(make_settings(tmp_path).model, ("vi",))
    own = {parameter.data_ptr() for parameter in encoder.parameters()}
    assert own.isdisjoint(parameter.data_ptr() for parameter in frozen.parameters())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert not frozen.training


def test_weights_of_another_architecture_name_the_first_tensor(saved: tuple[Encoder, Path]) -> None:
    path = saved[1] / "model.safetensors"
    state = load_file(path)
    state["encoder.neck.weight"] = torch.zeros(3)
    save_file(state, path)
    with pytest.raises(InputError, match=r"model\.safetensors: weights of another architecture: 1 of .*encoder\.neck"):
        load_model(saved[1])
    del state["encoder.scenario_embedding"]
    save_file(state, path)
    with pytest.raises(InputError, match=r"first is 'encoder\.scenario_embedding'"):
        load_model(saved[1])


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_damaged_and_missing_files_are_named(saved: tuple[Encoder, Path], file: str) -> None:
    path = saved[1] / file
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=rf"{file}: not a"):
        load_model(saved[1])
    path.unlink()
    with pytest.raises(InputError, match=rf"{file}: not found"):
        load_model(saved[1])


def test_unknown_entries_of_the_card_are_refused(saved: tuple[Encoder, Path]) -> None:
    card = ModelCard.model_validate_json((saved[1] / "config.json").read_bytes()).model_dump(mode="json")
    with pytest.raises(ValueError, match="surprise"):
        ModelCard.model_validate({**card, "surprise": 1})


def test_full_disk_is_said_and_leaves_no_half_model(
    saved: tuple[Encoder, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    encoder, clip, card = load_model(saved[1])

    def full(path: Path, content: bytes) -> int:
        path.open("wb").write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="disk is full"):
        save_model(encoder, clip, card, tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
