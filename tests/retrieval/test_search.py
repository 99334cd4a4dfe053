"""Ranked lists against a sort written plainly, and what a search must say or refuse."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from itkm.errors import InputError
from itkm.evaluation.features import FeatureSet
from itkm.retrieval.embed import embed_images
from itkm.retrieval.gallery import Gallery
from itkm.retrieval.images import list_files, list_scenario
from itkm.retrieval.model import Model
from itkm.retrieval.search import _nearest, choose_view, printable, search_by_image, search_by_text
from itkm.stages.layout import Layout

COARSE = st.integers(-2, 2).map(np.float32)  # few values, so that ties and zero rows occur


@pytest.fixture(scope="module")
def gallery(project: Layout, model: Model) -> Gallery:
    return embed_images(list_scenario(project.data("vi"), ()), model)


def feature_set(features: np.ndarray) -> FeatureSet:
    count = len(features)
    return FeatureSet(features, np.arange(count), np.zeros(count, dtype=np.int64))


@settings(deadline=None, max_examples=200)
@given(
    features=arrays(np.float32, (12, 3), elements=COARSE),
    query=arrays(np.float32, 3, elements=COARSE),
    top=st.integers(1, 20),
)
def test_the_list_is_a_sort_by_cosine(model: Model, features: np.ndarray, query: np.ndarray, top: int) -> None:
    found = Gallery(feature_set(features), None, model.fingerprint)
    hits = _nearest(query, features, found, model, top=top)
    lengths = [max(float(np.sqrt((row**2).sum())), 1e-12) for row in features]
    cosine = [float(np.dot(row, query)) / length for row, length in zip(features, lengths, strict=True)]
    expected = sorted(range(len(features)), key=lambda row: -cosine[row])[:top]
    assert [hit.similarity for hit in hits] == pytest.approx([cosine[row] for row in expected], abs=1e-5)
    assert [hit.similarity for hit in hits] == pytest.approx([cosine[hit.row] for hit in hits], abs=1e-5)
    assert len({hit.row for hit in hits}) == len(hits)
    assert [hit.rank for hit in hits] == list(range(1, len(expected) + 1))


def test_ties_go_by_row(model: Model) -> None:
    features = np.tile(np.float32([1, 0]), (9, 1))
    hits = _nearest(np.float32([1, 0]), features, Gallery(feature_set(features), None, model.fingerprint), model, top=4)
    assert [hit.row for hit in hits] == [0, 1, 2, 3]


def test_an_image_of_the_gallery_finds_itself(model: Model, photos: Path) -> None:
    gallery = embed_images(list_files([photos], "vi", "infrared"), model)
    hits = search_by_image(photos / "005.png", gallery, model, top=3, scenario="vi", group="infrared")
    assert hits[0].path == str(photos / "005.png")
    assert hits[0].similarity == pytest.approx(1, abs=1e-5)
    assert hits[0].person is None


def test_a_hit_says_what_is_known(gallery: Gallery, model: Model, photos: Path) -> None:
    hits = search_by_image(photos / "005.png", gallery, model, top=64, scenario="vi", group="infrared")
    assert sorted(hit.row for hit in hits) == list(range(64))
    images = gallery.images
    assert images.path is not None and images.group is not None
    for hit in hits:
        assert (hit.path, hit.person, hit.camera, hit.group) == (
            *(images.path[hit.row], images.person[hit.row], images.camera[hit.row], images.group[hit.row]),
        )


def test_words_are_compared_with_the_projection(gallery: Gallery, model: Model) -> None:
    hits = search_by_text("a photo of a woman", gallery, model, top=5)
    text = model.text.encode(["a photo of a woman"])[0].detach().numpy()
    assert gallery.projected is not None
    similarity = gallery.projected @ (text / np.linalg.norm(text))
    assert [hit.row for hit in hits] == np.argsort(-similarity, kind="stable")[:5].tolist()


def test_unknown_words_are_said(gallery: Gallery, model: Model, caplog: pytest.LogCaptureFixture) -> None:
    search_by_text("a man", gallery, model, top=1)
    assert not caplog.records
    search_by_text("A man, with an Umbrella", gallery, model, top=1)
    assert "does not know: with, an, umbrella. It knows: a, photo" in caplog.text


def test_a_gallery_of_another_model_is_warned_of(
    gallery: Gallery, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    search_by_text("a man", dataclasses.replace(gallery, model="0" * 64), model, top=1)
    assert "embedded by another model" in caplog.text
    caplog.clear()
    search_by_text("a man", dataclasses.replace(gallery, model=""), model, top=1)
    assert "embedded by an unknown model" in caplog.text


def test_features_that_cannot_be_compared_are_refused(gallery: Gallery, model: Model, photos: Path) -> None:
    assert gallery.projected is not None
    projected = Gallery(feature_set(gallery.projected), None, model.fingerprint)
    with pytest.raises(InputError, match=r"features have 16 values, the model's 912\. Embed the gallery"):
        search_by_image(photos / "000.png", projected, model, top=1, scenario="vi", group="visible")
    with pytest.raises(InputError, match="no column `projected`"):
        search_by_text("a man", projected, model, top=1)
    with pytest.raises(InputError, match="--text ' ,': no word in it"):
        search_by_text(" ,", gallery, model, top=1)


def test_the_query_is_seen_as_the_gallery_where_that_is_of_one_kind(model: Model) -> None:
    def choose(scenarios: list[str], groups: list[str], **given: str | None) -> tuple[str, str]:
        images = FeatureSet(
            *(np.zeros((2, 1), dtype=np.float32), np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64)),
            scenario=np.array(scenarios),
            group=np.array(groups),
        )
        return choose_view(Gallery(images), model, **{"scenario": None, "group": None, **given})

    assert choose(["cr", "cr"], ["low", "low"]) == ("cr", "low")
    assert choose(["cr", "cr"], ["low", "high"]) == ("cr", "high")
    assert choose(["cr", "cr"], ["low", "low"], group="high") == ("cr", "high")
    assert choose(["cr", "cr"], ["low", "low"], scenario="vi") == ("vi", "visible")
    assert choose(["mine", "mine"], ["day", "day"]) == ("vi", "visible")
    assert choose(["vi", "cr"], ["visible", "low"]) == ("vi", "visible")
    with pytest.raises(InputError, match="group 'day': unknown to the model"):
        choose(["cr", "cr"], ["low", "low"], group="day")


def test_names_cannot_command_a_terminal() -> None:
    assert printable("straße/日本 a.jpg") == "straße/日本 a.jpg"
    assert printable("a\x1b[31m\n\udcff.jpg") == "a�[31m��.jpg"
