"""The renderer: what a data set made of its images relies on."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from itkm.data.render.captions import COLOUR_ATTRIBUTES, STABLE, captions, prompt, vocabulary, words_of
from itkm.data.render.dataset import Captioned, RenderedImage
from itkm.data.render.settings import RenderSettings
from itkm.data.render.wardrobe import (
    ATTRIBUTES,
    COLOURS,
    HAIR_COLOURS,
    OUTFIT,
    Person,
    change_clothes,
    sample_person,
    tones,
)
from itkm.errors import InputError

CLOTHES_WORDS = {"shoes", "jeans", "trousers", "jacket", "coat", "hoodie", "striped", "logo", "bottoms"}
Scenarios = dict[str, list[RenderedImage]]

SMALL = RenderSettings(
    train_identities=2, validation_identities=1, test_identities=1, train_images=3, validation_images=1, test_images=1,
    pretrain_identities=4, pretrain_images=2, pretrain_cameras=4, pretrain_infrared=0.5, workers=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def dataset() -> ModuleType:
    """The module `dataset`, or a skip where nothing can be rendered."""
    pytest.importorskip("anny", reason="the extra `render` is not installed")
    from itkm.data.render import dataset, draw

    try:
        draw.programme()
    except InputError as error:
        pytest.skip(str(error))
    return dataset


@pytest.fixture(scope="module")
def scenarios(dataset: ModuleType) -> Scenarios:
    """All images of the three small scenarios."""
    return {name: list(dataset.render_scenario(SMALL, name)) for name in dataset.GROUPS}


@pytest.fixture(scope="module")
def corpus(dataset: ModuleType) -> Captioned:
    """A small captioned corpus."""
    return dataset.render_captioned(SMALL)


def persons(n: int = 60) -> list[Person]:
    return [sample_person(np.random.default_rng([9, i])) for i in range(n)]


def high_frequencies(image: np.ndarray) -> float:
    """Energy of the difference between neighbouring pixels."""
    grey = image.astype(float).mean(2)
    return float((np.diff(grey, axis=0) ** 2).mean() + (np.diff(grey, axis=1) ** 2).mean())


# Names, words and chance: nothing is rendered here.


def test_every_sampled_attribute_is_in_the_vocabulary_of_attributes() -> None:
    for person in persons():
        assert set(person.attributes) == set(ATTRIBUTES)
        for name, value in person.attributes.items():
            assert value in ATTRIBUTES[name], name


def test_the_top_always_changes_with_the_clothes_and_the_body_never() -> None:
    for i, person in enumerate(persons()):
        other = change_clothes(np.random.default_rng(i), person, bottoms=0.6, shoes=0.3)
        for name in ("top", "top_colour", "pattern"):
            assert other.attributes[name] != person.attributes[name]
        for name in set(ATTRIBUTES) - set(OUTFIT):
            assert other.attributes[name] == person.attributes[name]
        assert other.phenotype == person.phenotype


def test_bottoms_and_shoes_change_as_often_as_they_are_told() -> None:
    for person in persons():
        kept = change_clothes(np.random.default_rng(1), person, bottoms=0.0, shoes=0.0).attributes
        assert kept["shoes_colour"] == person.attributes["shoes_colour"]
        if "dress" not in (kept["top"], person.attributes["top"]):
            assert kept["bottoms"] == person.attributes["bottoms"]
            assert kept["bottoms_colour"] == person.attributes["bottoms_colour"]


def test_a_beard_or_a_skirt_comes_with_the_sex_it_was_given() -> None:
    for person in persons(200):
        if person.attributes["beard"] == "beard":
            assert person.attributes["sex"] == "man"
        if person.attributes["bottoms"] in ("skirt", "none"):
            assert person.attributes["sex"] == "woman"


def test_infrared_captions_name_no_colour() -> None:
    forbidden = set(COLOURS) | set(HAIR_COLOURS) | {"light", "tan", "dark", "skin"}
    for i, person in enumerate(persons()):
        for text in captions(person.attributes, np.random.default_rng(i), infrared=True):
            assert text.startswith("an infrared photo of")
            assert not forbidden & set(words_of(text)), text


def test_all_words_of_captions_and_prompts_are_in_the_vocabulary() -> None:
    words, used = set(vocabulary()), set()
    for i, person in enumerate(persons(300)):
        for infrared in (False, True):
            for text in captions(person.attributes, np.random.default_rng(i), infrared=infrared):
                used.update(words_of(text))
    for attribute, values in ATTRIBUTES.items():
        for value in values:
            for infrared in (False, True):
                if not (infrared and attribute in COLOUR_ATTRIBUTES):
                    used.update(words_of(prompt(attribute, value, infrared=infrared)))
    assert used <= words
    assert words <= used, "a word of the vocabulary is never said"


def test_the_last_caption_names_only_what_survives_a_change_of_clothes() -> None:
    for i, person in enumerate(persons()):
        other = change_clothes(np.random.default_rng(1000 + i), person)
        first, second = (captions(p.attributes, np.random.default_rng(i), infrared=False) for p in (person, other))
        assert first[0] != second[0] or first[1] != second[1]
        last = [captions({**p.attributes}, np.random.default_rng(i), infrared=False)[2] for p in (person, other)]
        for text in last:
            assert not set(words_of(text)) & CLOTHES_WORDS
    assert not set(STABLE) & set(OUTFIT)


def test_prompts_differ_between_values_and_refuse_nonsense() -> None:
    for attribute, values in ATTRIBUTES.items():
        assert len({prompt(attribute, v, infrared=False) for v in values}) == len(values)
    with pytest.raises(ValueError, match="expected one of"):
        prompt("bag", "trolley", infrared=False)
    with pytest.raises(ValueError, match="not visible in the infrared"):
        prompt("top_colour", "red", infrared=True)


def test_infrared_tone_moves_from_chance_to_luminance() -> None:
    dark = [tones(p, 0.0)["top"][0] for p in persons()]
    bright = [tones(p, 1.0)["top"][0] for p in persons()]
    luma = [float(p.paint["top"].colour @ (0.299, 0.587, 0.114)) for p in persons()]
    assert np.corrcoef(bright, luma)[0, 1] > 0.99
    assert abs(np.corrcoef(dark, luma)[0, 1]) < 0.4


# Images.


def test_images_have_the_size_and_order_of_the_settings(dataset: ModuleType, scenarios: Scenarios) -> None:
    for name, images in scenarios.items():
        assert len(images) == 2 * (2 * 3 + 1 + 1)
        assert {(x.image.shape, x.image.dtype.name) for x in images} == {((128, 64, 3), "uint8")}
        assert [x.person for x in images] == sorted(x.person for x in images)
        assert {x.group for x in images} == set(dataset.GROUPS[name])
        assert {x.camera for x in images} <= {f"{name}-c{i}" for i in range(1, 7)}


def test_the_same_settings_give_the_same_bytes_in_any_order(
    dataset: ModuleType, scenarios: Scenarios, corpus: Captioned
) -> None:
    again = list(dataset.render_scenario(SMALL, "cc"))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(scenarios["cc"], again, strict=True))
    late = dataset.render_identities(SMALL, "pretrain", range(3, 4), 2, 2, None)
    assert np.array_equal(late.images, corpus.images[corpus.person == 3])
    other = next(iter(dataset.render_scenario(SMALL.model_copy(update={"seed": 1}), "cc")))
    assert not np.array_equal(other.image, again[0].image)


def test_identities_of_splits_are_disjoint_and_test_splits_by_group(scenarios: Scenarios) -> None:
    for images in scenarios.values():
        of = {s: {x.person for x in images if x.split == s} for s in ("train", "validation", "gallery", "query")}
        assert of["gallery"] == of["query"]
        assert not of["train"] & of["validation"]
        assert not (of["train"] | of["validation"]) & of["gallery"]
        assert {x.group for x in images if x.split == "gallery"} == {images[0].group}


def test_no_population_repeats_a_person_of_another(dataset: ModuleType) -> None:
    seen = set()
    for population in dataset.POPULATIONS:
        for number in range(1, 6):
            person = sample_person(dataset.stream(SMALL, population, number))
            seen.add(tuple(person.phenotype.values()))
    assert len(seen) == 5 * len(dataset.POPULATIONS)


def test_only_the_scenario_cc_changes_clothes(scenarios: Scenarios) -> None:
    for name, images in scenarios.items():
        worn = {person: {x.clothes for x in images if x.person == person} for person in (1, 2, 3)}
        assert all(len(clothes) == (2 if name == "cc" else 1) for clothes in worn.values())


def test_infrared_images_are_grey_and_visible_ones_are_not(scenarios: Scenarios) -> None:
    for x in scenarios["vi"]:
        spread = np.ptp(x.image.astype(int), axis=2).mean()
        assert (spread == 0) if x.group == "infrared" else (spread > 3)


def test_low_resolution_images_have_less_fine_detail(scenarios: Scenarios) -> None:
    fine = {g: np.mean([high_frequencies(x.image) for x in scenarios["cr"] if x.group == g]) for g in ("high", "low")}
    assert fine["low"] < 0.6 * fine["high"]


def test_the_corpus_is_labelled_image_by_image(corpus: Captioned) -> None:
    n = 4 * 2 * 2
    assert corpus.images.shape == (n, 128, 64, 3)
    assert len(corpus.captions) == n
    assert all(len(texts) == 3 for texts in corpus.captions)
    assert {name: len(v) for name, v in corpus.attributes.items()} == dict.fromkeys(ATTRIBUTES, n)
    for texts, image, infrared in zip(corpus.captions, corpus.images, corpus.infrared, strict=True):
        assert texts[0].startswith("an infrared photo") == bool(infrared)
        assert (np.ptp(image.astype(int), axis=2).max() == 0) == bool(infrared)
    assert 0 < corpus.infrared.sum() < n


def test_fewer_images_are_the_first_ones(dataset: ModuleType, corpus: Captioned) -> None:
    few = dataset.render_captioned(SMALL, images=5)
    assert np.array_equal(few.images, corpus.images[:5])
    assert few.captions == corpus.captions[:5]
    assert len(few.person) == len(few.attributes["bag"]) == 5


def test_fresh_persons_are_the_same_in_both_lights(dataset: ModuleType) -> None:
    light, dark = (dataset.render_fresh(SMALL, 2, infrared=i) for i in (False, True))
    for name in ATTRIBUTES:
        assert light.attributes[name].tolist() == dark.attributes[name].tolist()
    assert dark.infrared.all()
    assert not light.infrared.any()
    assert len(light.images) == 2 * SMALL.fresh_images


def silhouette(dataset: ModuleType, person: Person) -> np.ndarray:
    """Colour layer with alpha [H,W,4] of a person seen obliquely from behind, in a fixed pose."""
    from itkm.data.render import camera, garments
    from itkm.data.render.pose import posed

    place = dataset.studio(SMALL)
    shape = garments.enlarge_head(place.body, place.body.shape(person.phenotype))
    mesh = garments.dress(person, shape, {k: p.colour for k, p in person.paint.items()})
    drawable = place.painter.upload(mesh.vertices, mesh.faces)
    bones = posed(place.body, shape, person, np.random.default_rng(3))
    look = camera.make_camera(SMALL, "test", np.random.default_rng(5), yaw=2.5)
    view, eye, _ = camera.frame_person(look, camera.points_of(place.body, shape, bones), 2.0, np.random.default_rng(4))
    layer = place.painter.paint(drawable, bones, view, eye, look.light, look.ambient)
    drawable.release()
    return layer


@pytest.mark.parametrize(
    ("attribute", "values"),
    [("bag", ("none", "backpack")), ("hat", ("none", "cap")), ("hair", ("short", "long")), ("top", ("t-shirt", "coat")),
     ("pattern", ("plain", "striped")), ("bottoms", ("trousers", "shorts"))],
)  # fmt: skip
def test_an_attribute_shows_in_the_picture(dataset: ModuleType, attribute: str, values: tuple[str, str]) -> None:
    base = next(p for p in persons() if p.attributes["sex"] == "man")
    plain = base.attributes | {
        "bag": "none",
        "hat": "none",
        "hair": "short",
        "top": "t-shirt",
        "pattern": "plain",
        "bottoms": "trousers",
    }
    layers = [silhouette(dataset, replace(base, attributes=plain | {attribute: value})) for value in values]
    changed = np.abs(layers[0] - layers[1]).max(2) > 0.1
    assert changed.sum() > 40


def test_the_person_fills_the_frame_but_not_all_of_it(dataset: ModuleType) -> None:
    for person in persons(8):
        alpha = silhouette(dataset, person)[..., 3]
        assert 0.1 < alpha.mean() < 0.6
        rows = np.flatnonzero(alpha.max(1) > 0.5)
        assert rows[-1] - rows[0] > 0.7 * len(alpha)


def test_missing_egl_is_an_input_error_that_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    moderngl = pytest.importorskip("moderngl", reason="the extra `render` is not installed")
    from itkm.data.render import draw

    def fail(**_: object) -> None:
        raise Exception("libEGL.so not loaded")

    monkeypatch.setattr(moderngl, "create_standalone_context", fail)
    with pytest.raises(InputError, match="libegl1 libgl1-mesa-dri"):
        draw.programme.__wrapped__()


def test_bones_at_rest_move_nothing(dataset: ModuleType) -> None:
    body = dataset.studio(SMALL).body
    assert np.allclose(body.pose(body.neutral.heads, {}), np.eye(4))
    quarter = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    turned = body.pose(body.neutral.heads, {"upperarm01.L": quarter})
    shoulder = np.append(body.neutral.heads[body.bone("upperarm01.L")], 1)
    assert np.allclose(turned[body.bone("wrist.L")] @ shoulder, shoulder)
    assert np.allclose(turned[body.bone("head")], np.eye(4))


def test_the_body_follows_anny(dataset: ModuleType) -> None:
    """The oracle of the blend shapes is anny itself."""
    import torch

    body = dataset.studio(SMALL).body
    phenotype = {"gender": 0.9, "age": 0.7, "muscle": 0.3, "weight": 0.8, "height": 0.2, "proportions": 0.6}
    with torch.no_grad():
        out = body.model(phenotype_kwargs=phenotype)
    ours = body.shape(phenotype)
    assert np.allclose(ours.vertices, out["rest_vertices"][0].numpy(), atol=1e-4)
    assert np.allclose(ours.heads, out["rest_bone_heads"][0].numpy(), atol=1e-4)
