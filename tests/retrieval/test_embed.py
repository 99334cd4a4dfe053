"""Features of images and captions: those of the stages, in the order of the images, whatever the size of a block."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch.nn.functional import normalize

from itkm.data.evaluation import load_evaluation
from itkm.data.manifest import read_manifest, write_manifest
from itkm.errors import InputError
from itkm.retrieval import embed
from itkm.retrieval.embed import embed_captions, embed_images, embed_texts
from itkm.retrieval.images import list_files, list_scenario
from itkm.retrieval.model import Model
from itkm.stages.layout import Layout
from itkm.training.extraction import extract


def test_features_are_those_of_the_stages(project: Layout, model: Model) -> None:
    """The stages embed the same images in another order (by camera), so each is compared by its member name."""
    folder = project.data("cr")
    size = model.card.model
    stage = load_evaluation(project.evaluation_table("cr"), folder, height=size.height, width=size.width)
    features, projected = extract(model.encoder, stage.images, scenario=2, group=stage.group)
    gallery = embed_images(list_scenario(folder, ()), model)
    own = {path: row for row, path in enumerate(read_manifest(folder)["path"])}
    rows = [own[path] for path in stage.paths]
    assert gallery.projected is not None
    np.testing.assert_allclose(gallery.images.features[rows], features.numpy(), atol=1e-5)
    np.testing.assert_allclose(gallery.projected[rows], projected.numpy(), atol=1e-5)
    assert gallery.images.person[rows].tolist() == stage.person.tolist()
    assert gallery.images.camera[rows].tolist() == stage.camera.tolist()
    assert gallery.images.clothes is not None and gallery.images.clothes[rows].tolist() == stage.clothes.tolist()


def test_the_same_batches_give_the_same_bits(project: Layout, model: Model) -> None:
    size = model.card.model
    stage = load_evaluation(
        project.evaluation_table("vi"), project.data("vi"), height=size.height, width=size.width, splits=("train",)
    )
    features, _ = extract(model.encoder, stage.images, scenario=0, group=stage.group)
    images = list_scenario(project.data("vi"), ())
    frame = read_manifest(project.data("vi"))
    order = frame.sort_values(["camera", "path"], kind="stable").index.to_numpy()
    sorted_images = type(images)(
        [images.encoded[row] for row in order],
        {name: values[order] for name, values in images.labels.items()},
        images.data,
    )
    assert np.array_equal(embed_images(sorted_images, model).images.features, features.numpy())


@pytest.mark.parametrize("block", [1, 7, 64])
def test_order_does_not_depend_on_the_block(
    project: Layout, model: Model, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    images = list_scenario(project.data("vi"), ())
    whole = embed_images(images, model, flip=False)
    monkeypatch.setattr(embed, "BLOCK", block)
    parts = embed_images(images, model)
    assert parts.images.path is not None and whole.images.path is not None
    assert parts.images.path.tolist() == whole.images.path.tolist()
    np.testing.assert_allclose(parts.images.features, whole.images.features, atol=1e-5)


def test_labels_are_the_manifests(project: Layout, model: Model) -> None:
    frame = read_manifest(project.data("vi"))
    images = embed_images(list_scenario(project.data("vi"), ["train"]), model).images
    assert images.path is not None and images.group is not None and images.scenario is not None
    assert images.path.tolist() == frame["source"].tolist()
    assert images.group.tolist() == frame["group"].tolist()
    assert set(images.scenario.tolist()) == {"vi"}
    np.testing.assert_allclose(np.linalg.norm(images.features, axis=1), 1, atol=1e-5)


def test_without_a_source_the_path_names_an_image(project: Layout, tmp_path: Path) -> None:
    frame = read_manifest(project.data("vi"))
    frame.loc[::2, "source"] = ""
    write_manifest(frame, tmp_path)
    names = list_scenario(tmp_path, ()).labels["path"]
    assert names[::2].tolist() == frame["path"][::2].tolist()
    assert names[1::2].tolist() == frame["source"][1::2].tolist()


def test_files_give_the_features_of_the_scenario(project: Layout, model: Model, photos: Path) -> None:
    scenario = embed_images(list_scenario(project.data("vi"), ()), model).images
    assert scenario.group is not None
    files = embed_images(list_files([photos], "vi", "infrared"), model).images
    np.testing.assert_allclose(files.features, scenario.features[scenario.group == "infrared"], atol=1e-5)
    assert set(files.person.tolist()) == {-1}
    assert files.clothes is None
    assert files.path is not None and files.path.tolist() == sorted(str(file) for file in photos.iterdir())


def test_scenario_and_group_change_what_the_model_sees(model: Model, photos: Path) -> None:
    views = [("vi", "infrared"), ("vi", "visible"), ("cr", "high")]
    seen = [embed_images(list_files([photos], *view), model).images.features for view in views]
    assert np.abs(seen[0] - seen[1]).max() > 1e-3
    assert np.abs(seen[1] - seen[2]).max() > 1e-3
    again = embed_images(list_files([photos], "vi", "visible"), model, scenario="cr", group="high").images
    assert np.array_equal(again.features, seen[2])
    assert again.group is not None and set(again.group.tolist()) == {"visible"}  # a label stays what it is


def test_a_folder_is_walked_in_order_without_hidden_files_and_other_kinds(photos: Path) -> None:
    (photos / "a").mkdir()
    (photos / "a" / "9.PNG").write_bytes((photos / "000.png").read_bytes())
    (photos / ".hidden.png").write_bytes(b"")
    (photos / ".cache").mkdir()
    (photos / ".cache" / "x.png").write_bytes(b"")
    (photos / "notes.txt").write_text("")
    listed = list_files([photos / "001.png", photos], "vi", "visible").labels["path"].tolist()
    assert listed[0] == str(photos / "001.png")
    assert listed[1:] == [str(photos / f"{number:03d}.png") for number in range(32)] + [str(photos / "a" / "9.PNG")]


def test_a_link_out_of_the_folder_is_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"")
    (photos / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match=r"link\.png: leads out of"):
        list_files([photos], "vi", "visible")


def test_an_unreadable_image_is_named(model: Model, photos: Path) -> None:
    (photos / "020.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"020\.png: cannot be decoded"):
        embed_images(list_files([photos], "vi", "visible"), model)
    with pytest.raises(InputError, match=r"gone\.png: cannot be read \(No such file"):
        embed_images(list_files([photos / "gone.png"], "vi", "visible"), model)


def test_flipped_features_are_those_of_mirrored_images(model: Model, photos: Path, tmp_path: Path) -> None:
    mirrored = tmp_path / "mirrored"
    mirrored.mkdir()
    for file in photos.iterdir():
        with Image.open(file) as image:  # of the model's own size, so that mirroring and resizing commute
            ImageOps.mirror(image).save(mirrored / file.name)
    both = embed_images(list_files([photos], "vi", "visible"), model, flip=True).images
    alone = embed_images(list_files([mirrored], "vi", "visible"), model).images
    assert both.flipped is not None
    np.testing.assert_allclose(both.flipped, alone.features, atol=1e-5)
    assert np.abs(both.flipped - both.features).max() > 1e-3


def test_projected_features_alone(model: Model, photos: Path) -> None:
    images = list_files([photos], "vi", "visible")
    plain, projected = embed_images(images, model), embed_images(images, model, projected=True)
    assert plain.projected is not None
    assert np.array_equal(projected.images.features, plain.projected)
    assert projected.projected is None


def test_captions_are_embedded_by_the_text_tower_with_the_labels_of_their_images(
    project: Layout, model: Model, tmp_path: Path
) -> None:
    frame = read_manifest(project.data("vi"))
    frame.loc[[3, 10], "caption"] = ["a photo of a man\na man\n", "a woman"]
    write_manifest(frame, tmp_path)
    captions = embed_captions(tmp_path, (), model)
    with torch.no_grad():
        expected = normalize(model.text.encode(["a photo of a man", "a man", "a woman"]), dim=1)
    assert np.array_equal(captions.images.features, expected.numpy())
    assert captions.images.person.tolist() == frame["person"][[3, 3, 10]].tolist()
    assert captions.images.path is not None
    assert captions.images.path.tolist() == frame["source"][[3, 3, 10]].tolist()
    with pytest.raises(InputError, match="none of 64 images has a caption"):
        embed_captions(project.data("vi"), (), model)


def test_many_texts_are_the_same_as_each_alone(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a man", "a photo of a woman", "person"]
    whole = embed_texts(texts, model)
    monkeypatch.setattr(embed, "BLOCK", 1)
    np.testing.assert_allclose(embed_texts(texts, model), whole, atol=1e-6)


def test_unknown_names_list_those_that_the_model_knows(project: Layout, model: Model, photos: Path) -> None:
    known = r"vi: visible, infrared; cc: outfit-a, outfit-b; cr: high, low"
    with pytest.raises(InputError, match=rf"scenario 'xx': unknown to the model.*{known}"):
        model.choose("xx", None)
    with pytest.raises(InputError, match=rf"group 'high': unknown to the model in scenario 'vi'.*{known}"):
        model.choose("vi", "high")
    with pytest.raises(InputError, match="group 'infrared': unknown to the model in scenario 'cr'"):
        embed_images(list_scenario(project.data("vi"), ()), model, scenario="cr")
    assert model.choose(None, None) == ("vi", "visible")
    assert model.choose("cr", None) == ("cr", "high")
    assert model.choose(None, "infrared") == ("vi", "infrared")


def test_a_split_without_images_is_refused(project: Layout) -> None:
    with pytest.raises(InputError, match=r"no image of split query\. Choose among train"):
        list_scenario(project.data("vi"), ["query"])
