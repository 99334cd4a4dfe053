from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from itkm.errors import InputError
from itkm.models.clip import OPEN_CLIP_NAMES, load_clip, read_demo_config, save_demo
from itkm.models.settings import ModelSettings
from itkm.models.store import ModelCard, build_encoder, load_model, save_model
from toy import CONFIG, make_clip


@pytest.fixture(autouse=True)
def small_architectures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The named architectures with the same kinds of layers, but small."""
    import open_clip

    real = open_clip.get_model_config

    def shrink(name: str) -> dict[str, Any]:
        config: dict[str, Any] = real(name)
        config["vision_cfg"] |= {"width": 64, "layers": 1} if "ViT" in name else {"width": 16, "layers": [1, 1, 1, 1]}
        config["text_cfg"] |= {"width": 32, "heads": 2, "layers": 1}
        return {**config, "embed_dim": 24}

    monkeypatch.setattr(open_clip, "get_model_config", shrink)
    monkeypatch.setattr("open_clip.factory.get_model_config", shrink)


def make_settings(name: str, weights: Path, *, height: int = 64, width: int = 32) -> ModelSettings:
    return ModelSettings.model_validate({"name": name, "weights": str(weights), "height": height, "width": width})


def write_weights(name: str, path: Path) -> Any:
    """Saves the architecture's weights as its publishers do: for square images, with the text tower built in."""
    import open_clip

    torch.manual_seed(0)
    model = open_clip.create_model(OPEN_CLIP_NAMES[name])
    if path.suffix == ".safetensors":
        save_file(model.state_dict(), path)
    else:
        torch.save({"state_dict": model.state_dict()}, path)
    return model


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("vit-b-16", "pt"), ("vit-b-16-quickgelu", "safetensors"), ("rn50", "safetensors"), ("rn50-quickgelu", "pt")],
)
def test_published_weights_load_at_another_shape_and_survive_a_round_trip(
    name: str, suffix: str, tmp_path: Path
) -> None:
    file = tmp_path / f"weights.{suffix}"
    published = write_weights(name, file).eval()
    settings = make_settings(name, file)
    clip = load_clip(settings).eval()
    texts = ["a photo of a person"]
    with torch.no_grad():
        from open_clip.tokenizer import SimpleTokenizer

        assert torch.allclose(clip.text.encode(texts), published.encode_text(SimpleTokenizer()(texts)), atol=1e-6)
        assert clip.encode_image(torch.rand(2, 3, 64, 32))[1].shape == (2, 24)
    encoder, frozen = build_encoder(settings, ("vi",))
    card = ModelCard(model=settings, demo=None, scenarios={"vi": ("visible", "infrared")})
    save_model(encoder, frozen, card, tmp_path / "model")
    file.unlink()
    again, _, _ = load_model(tmp_path / "model")
    inputs = torch.rand(2, 3, 64, 32), torch.zeros(2, dtype=torch.long), torch.arange(2)
    with torch.no_grad():
        assert torch.equal(encoder.eval()(*inputs)[1], again(*inputs)[1])


@pytest.mark.parametrize("name", ["vit-b-16", "vit-b-16-quickgelu", "rn50", "rn50-quickgelu"])
def test_at_the_published_shape_it_is_the_published_tower(name: str, tmp_path: Path) -> None:
    published = write_weights(name, tmp_path / "weights.pt").eval()
    clip = load_clip(make_settings(name, tmp_path / "weights.pt", height=224, width=224)).eval()
    images = torch.rand(2, 3, 224, 224)
    mean, std = torch.tensor(clip.mean).view(3, 1, 1), torch.tensor(clip.std).view(3, 1, 1)
    with torch.no_grad():
        expected = published.encode_image((images - mean) / std)
        assert torch.allclose(clip.encode_image(images)[1], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["vit-b-16", "rn50"])
def test_quick_gelu_is_another_function_of_the_same_weights(kind: str, tmp_path: Path) -> None:
    """A file does not say which form it needs: the name in params.yaml decides, and it makes a difference."""
    write_weights(kind, tmp_path / "weights.pt")
    images = torch.rand(2, 3, 64, 32)
    plain, quick = (
        load_clip(make_settings(name, tmp_path / "weights.pt")).eval() for name in (kind, f"{kind}-quickgelu")
    )
    assert all(torch.equal(own, theirs) for own, theirs in zip(plain.parameters(), quick.parameters(), strict=True))
    with torch.no_grad():
        assert not torch.allclose(plain.text.encode(["a person"]), quick.text.encode(["a person"]), atol=1e-6)
        if kind == "vit-b-16":  # the convolutional tower has no GELU
            assert not torch.allclose(plain.encode_image(images)[1], quick.encode_image(images)[1], atol=1e-6)


def write_folder(folder: Path, config: dict[str, Any], *, name: str = "vit-b-16", weights: bool = True) -> Path:
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    if weights:
        write_weights(name, folder / "open_clip_model.safetensors")
    return folder


@pytest.mark.parametrize("name", ["vit-b-16", "vit-b-16-quickgelu", "rn50", "rn50-quickgelu"])
def test_a_folder_of_open_clip_loads(name: str, tmp_path: Path) -> None:
    import open_clip

    config = open_clip.get_model_config(OPEN_CLIP_NAMES[name])
    folder = write_folder(tmp_path / "clip", config, name=name)
    clip = load_clip(make_settings(name, folder)).eval()
    published = write_weights(name, tmp_path / "weights.pt").eval()
    from open_clip.tokenizer import SimpleTokenizer

    with torch.no_grad():
        assert clip.encode_image(torch.rand(1, 3, 64, 32))[1].shape == (1, 24)
        expected = published.encode_text(SimpleTokenizer()(["a person"]))
        assert torch.allclose(clip.text.encode(["a person"]), expected, atol=1e-6)


def test_a_folder_without_weights_is_refused_instead_of_left_random(tmp_path: Path) -> None:
    import open_clip

    folder = write_folder(tmp_path / "clip", open_clip.get_model_config("ViT-B-16"), weights=False)
    with pytest.raises(InputError, match="cannot be loaded as ViT-B-16"):
        load_clip(make_settings("vit-b-16", folder))


def test_a_folder_of_another_architecture_is_refused(tmp_path: Path) -> None:
    import open_clip

    config = open_clip.get_model_config("ViT-B-16")
    folder = write_folder(tmp_path / "clip", config)
    with pytest.raises(InputError, match=r"vision_cfg\.layers is 1 in open_clip_config\.json, expected"):
        load_clip(make_settings("rn50", folder))
    with pytest.raises(InputError, match="quick_gelu is False"):
        load_clip(make_settings("vit-b-16-quickgelu", folder))


def test_a_folder_that_is_no_open_clip_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"open_clip_config\.json"):
        load_clip(make_settings("vit-b-16", tmp_path))


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    write_weights("rn50", tmp_path / "weights.pt")
    with pytest.raises(InputError, match=r"weights\.pt: cannot be loaded as ViT-B-16"):
        load_clip(make_settings("vit-b-16", tmp_path / "weights.pt"))


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 half a zip"])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_damaged_weights_are_refused(content: bytes, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"weights.{suffix}"
    file.write_bytes(content)
    with pytest.raises(InputError, match="cannot be loaded as ViT-B-16"):
        load_clip(make_settings("vit-b-16", file))


@pytest.mark.parametrize("weights", ["", "nowhere", "openai"])
def test_missing_weights_are_refused_and_never_downloaded(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"model\.weights.*Nothing is downloaded"):
        load_clip(ModelSettings(name="vit-b-16", weights=weights))


def test_a_file_that_bears_a_published_name_is_read_and_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_weights("vit-b-16", Path("openai"))
    monkeypatch.setattr("open_clip.factory.download_pretrained", lambda *_, **__: pytest.fail("downloads"))
    load_clip(ModelSettings(name="vit-b-16", weights="openai", height=64, width=32))


def test_image_too_small_for_the_convolutional_tower_is_refused(tmp_path: Path) -> None:
    write_weights("rn50", tmp_path / "weights.pt")
    with pytest.raises(InputError, match="at least 32x32 pixels, found 16x64"):
        load_clip(make_settings("rn50", tmp_path / "weights.pt", height=64, width=16))


def test_demo_folder_round_trip_in_half_precision(tmp_path: Path) -> None:
    clip, config = make_clip()
    save_demo(clip, config, tmp_path)
    again = load_clip(make_settings("demo", tmp_path)).eval()
    images = torch.rand(2, 3, 32, 16)
    with torch.no_grad():
        assert torch.allclose(again.encode_image(images)[1], clip.encode_image(images)[1], atol=0.05)
    assert read_demo_config(tmp_path) == CONFIG
    assert all(value.dtype != torch.float16 for value in again.state_dict().values())


def test_demo_folder_that_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json: not found.*dvc pull"):
        load_clip(make_settings("demo", tmp_path))
    (tmp_path / "config.json").write_text('{"words": 3}')
    with pytest.raises(InputError, match=r"config\.json: not a demo configuration"):
        load_clip(make_settings("demo", tmp_path))
    (tmp_path / "config.json").write_text(CONFIG.model_dump_json())
    with pytest.raises(InputError, match=r"model\.safetensors: not found"):
        load_clip(make_settings("demo", tmp_path))
