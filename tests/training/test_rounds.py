from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from itkm.data.training import TrainingImages
from itkm.errors import InputError
from itkm.labelling.settings import LabellingSettings
from itkm.models.encoder import Encoder
from itkm.training.extraction import extract, extract_frozen, to_pixels
from itkm.training.groups import Group
from itkm.training.rounds import count_clusters, extract_groups, label_groups, outlier_share
from itkm.training.runtime import resolve_device, torch_generator


def settings(**changes: Any) -> LabellingSettings:
    return LabellingSettings.model_validate({"k1": 8, "k2": 1, "eps": 0.6, "min_samples": 2, **changes})


def clustered(group: Group, *, clusters: int, seed: int = 0) -> Tensor:
    """Features in tight bundles."""
    rng = torch.Generator().manual_seed(seed)
    centres = torch.randn(clusters, 16, generator=rng)
    place = torch.arange(len(group.rows)) % clusters
    return normalize(centres[place] + 0.01 * torch.randn(len(place), 16, generator=rng), dim=1)


@pytest.mark.parametrize("batch", [5, 16, 48, 128])
def test_extraction_is_the_direct_forward(encoder: Encoder, scenarios: list[TrainingImages], batch: int) -> None:
    """Also where the number of images is a multiple of the batch size."""
    training = scenarios[0]
    features, projected = extract(encoder, training.images, scenario=1, group=training.group, batch=batch)
    with torch.no_grad():
        pixels = torch.from_numpy(training.images) / 255
        outputs = encoder(pixels, torch.ones(48, dtype=torch.long), torch.from_numpy(training.group))
    assert torch.allclose(features, normalize(outputs[0], dim=1), atol=1e-5)
    assert torch.allclose(projected, normalize(outputs[1], dim=1), atol=1e-5)
    assert torch.allclose(features.norm(dim=1), torch.ones(48))
    assert not features.requires_grad


def test_extraction_of_no_image_is_empty(encoder: Encoder) -> None:
    nothing = np.empty((0, 3, 32, 16), dtype=np.uint8)
    features, projected = extract(encoder, nothing, scenario=0, group=np.empty(0, dtype=np.int64))
    assert features.shape == (0, encoder.trunk.feature_dim)
    assert projected.shape == (0, encoder.trunk.projected_dim)


def test_frozen_extraction_is_clip_alone(scenarios: list[TrainingImages]) -> None:
    from toy import make_clip

    clip, _ = make_clip()
    projected = extract_frozen(clip.train(), scenarios[1].images, batch=7)
    with torch.no_grad():
        expected = clip.eval().encode_image(to_pixels(scenarios[1].images, torch.device("cpu")))[1]
    assert torch.allclose(projected, normalize(expected, dim=1), atol=1e-5)


def test_each_group_is_extracted_through_its_own_branch(
    encoder: Encoder, groups: list[Group], scenarios: list[TrainingImages]
) -> None:
    torch.nn.init.normal_(next(encoder.stems[1].parameters()))
    torch.nn.init.normal_(encoder.scenario_embedding)
    features, projected = extract_groups(encoder, groups)
    for number, training in enumerate(scenarios):
        whole = extract(encoder, training.images, scenario=number, group=training.group)
        for group in groups[2 * number : 2 * number + 2]:
            place = groups.index(group)
            assert torch.allclose(features[place], whole[0][group.rows], atol=1e-5)
            assert torch.allclose(projected[place], whole[1][group.rows], atol=1e-5)


def test_groups_are_labelled_on_their_own(groups: list[Group]) -> None:
    counts = [3, 3, 2, 2]
    features = [clustered(group, clusters=count) for group, count in zip(groups, counts, strict=True)]
    labels, silhouettes = label_groups(features, groups, settings(), camera_centring=False)
    assert all(apart > 0.5 for apart in silhouettes)
    assert [count_clusters(own) for own in labels] == counts
    assert all(
        sorted(set(own.tolist()) - {-1}) == list(range(count)) for own, count in zip(labels, counts, strict=True)
    )


def test_camera_centring_removes_what_cameras_add(groups: list[Group]) -> None:
    """A strong constant of each camera hides the persons; centring brings them back."""
    persons = [clustered(group, clusters=2, seed=3) for group in groups]
    constant = 20 * torch.eye(16)[:2]
    features = [
        normalize(own + constant[torch.from_numpy(group.camera)], dim=1)
        for own, group in zip(persons, groups, strict=True)
    ]
    agreement = []
    for centring in (False, True):
        labels, _ = label_groups(features, groups, settings(eps=0.7), camera_centring=centring)
        agreement.append(
            np.mean([len({own[i] for i in range(0, len(own), 2)} - {-1}) == 1 for own in labels])  # person 0
        )
    assert agreement == [0.0, 1.0]


def test_collapse_of_all_groups_is_an_error_that_names_them_and_the_remedy(groups: list[Group]) -> None:
    scattered = [normalize(torch.randn(len(group.rows), 64), dim=1) for group in groups]
    with pytest.raises(InputError) as caught:
        label_groups(scattered, groups, settings(eps=1e-6), camera_centring=False)
    message = str(caught.value)
    assert all(f"{group.name}: 0 clusters, 100 % outliers" in message for group in groups)
    assert "raise labelling.eps or lower labelling.min_samples" in message


def test_collapse_of_one_group_is_a_warning_that_names_it(
    groups: list[Group], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [np.arange(len(group.rows), dtype=np.int64) % 3 - 1 for group in groups]
    found[2][:] = -1
    answers = iter(found)
    monkeypatch.setattr("itkm.training.rounds.labels_of", lambda *_: next(answers))
    features = [clustered(group, clusters=2) for group in groups]
    with caplog.at_level(logging.WARNING):
        labels, _ = label_groups(features, groups, settings(), camera_centring=False)
    (warning,) = caplog.messages
    assert warning.startswith("own/first: labels collapse: 0 clusters, 100 %")
    assert outlier_share(labels[2]) == 1


def test_one_cluster_everywhere_is_collapse_too(groups: list[Group]) -> None:
    same = [
        normalize(torch.ones(len(group.rows), 8) + 0.001 * torch.rand(len(group.rows), 8), dim=1) for group in groups
    ]
    with pytest.raises(InputError, match="one cluster: lower labelling"):
        label_groups(same, groups, settings(eps=0.99, k1=20), camera_centring=False)


def test_group_with_fewer_images_than_neighbours_is_named(groups: list[Group]) -> None:
    features = [clustered(group, clusters=2) for group in groups]
    with pytest.raises(InputError, match=r"own/first: pseudo-labels: 20 features, but k1 = 21"):
        label_groups(features, groups, settings(k1=21), camera_centring=False)


def test_features_that_are_not_finite_name_the_group(groups: list[Group]) -> None:
    """What a diverged training looks like."""
    features = [clustered(group, clusters=2) for group in groups]
    features[3][0] = float("nan")
    with pytest.raises(InputError, match="own/second"):
        label_groups(features, groups, settings(), camera_centring=False)


def test_device_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match="torch sees no GPU"):
        resolve_device("cuda:1")
    assert resolve_device("auto") == torch.device("cpu")


def test_a_gpu_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("auto") == resolve_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(InputError, match=r"'cuda:3', but torch sees 1 GPU"):
        resolve_device("cuda:3")
    monkeypatch.setenv("LOCAL_RANK", "1")  # the second process of `torchrun`
    with pytest.raises(InputError, match=r"'cuda:1', but torch sees 1 GPU.* start at most 1 process"):
        resolve_device("auto")


def test_random_numbers_of_stages_and_epochs_differ() -> None:
    draws = {
        float(torch.rand((), generator=torch_generator(1, stage, epoch))) for stage in (1, 2, 3) for epoch in range(9)
    }
    assert len(draws) == 27
