"""The shipped weights see what the demo builds on, in persons that they never met."""

from __future__ import annotations

from pathlib import Path

import pytest

from itkm.config import Settings, read_settings
from itkm.errors import InputError
from itkm.pretrain.gate import FLOORS, Accuracy, check_attributes

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def settings() -> Settings:
    settings = read_settings(ROOT / "params.yaml")
    weights = ROOT / settings.model.weights
    if not (weights / "model.safetensors").exists():
        pytest.skip("the shipped weights are not here: dvc pull models.dvc")
    return settings.model_copy(update={"model": settings.model.model_copy(update={"weights": str(weights)})})


@pytest.fixture(scope="module")
def found(settings: Settings) -> dict[tuple[str, str], Accuracy]:
    pytest.importorskip("anny", reason="the extra `render` is not installed")
    from itkm.data.render import draw

    try:
        draw.programme()
    except InputError as error:
        pytest.skip(str(error))
    return {(result.attribute, result.pixels): result for result in check_attributes(settings)}


@pytest.mark.parametrize("pixels", ["visible", "grey"])
@pytest.mark.parametrize("attribute", FLOORS)
def test_attribute_is_seen(found: dict[tuple[str, str], Accuracy], attribute: str, pixels: str) -> None:
    result = found[attribute, pixels]
    assert result.head >= FLOORS[attribute]
    assert result.text >= FLOORS[attribute]


def test_infrared_is_far_above_chance(found: dict[tuple[str, str], Accuracy]) -> None:
    for attribute in FLOORS:
        result = found[attribute, "infrared"]
        assert result.head > result.chance + 0.1
        assert result.text > result.text_chance + 0.1
