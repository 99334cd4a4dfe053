from __future__ import annotations

import numpy as np
import pytest

from itkm.errors import InputError
from itkm.labelling.neighbours import nearest_neighbours
from itkm.labelling.repairs import appearance_prior, centre_per_camera, with_prior


def cosines(rows: np.ndarray) -> np.ndarray:
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    result: np.ndarray = units @ units.T
    return result


def test_centring_finds_the_person_behind_a_strong_camera_cast() -> None:
    generator = np.random.default_rng(0)
    persons, cameras = np.repeat(np.arange(20), 2), np.tile([5, 3], 20)
    cast = {3: generator.normal(size=64) * 4, 5: generator.normal(size=64) * 4}
    features = generator.normal(size=(20, 64))[persons] + np.array([cast[camera] for camera in cameras])
    features = features.astype(np.float32)

    def share_of_own_person(rows: np.ndarray) -> float:
        found, _ = nearest_neighbours(rows, 2)
        return float((persons[found[:, 1]] == persons).mean())

    centred = centre_per_camera(features, cameras)
    assert share_of_own_person(features) < 0.2
    assert share_of_own_person(centred) > 0.9
    assert np.allclose(np.linalg.norm(centred, axis=1), 1, atol=1e-5)
    assert np.array_equal(centred, centre_per_camera(features, np.array(["b", "a"])[(cameras == 3).astype(int)]))


def test_the_only_image_of_a_camera_becomes_zero_not_noise() -> None:
    features = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)
    centred = centre_per_camera(features, np.array([0, 0, 0, 0, 9]))
    assert not centred[4].any()
    assert np.isfinite(centred).all()


def test_prior_is_a_histogram_per_stripe() -> None:
    images = np.zeros((2, 3, 12, 5), dtype=np.uint8)
    images[0, 0, 6:] = 255
    prior = appearance_prior(images, stripes=2, bins=4).reshape(2, 2, 3, 4)
    assert np.allclose(prior[0, 0, :, 0], 6**-0.5)
    assert np.allclose(prior[0, 1, 0], [0, 0, 0, 6**-0.5])
    assert np.allclose((prior**2).sum(axis=(1, 2, 3)), 1)


def test_prior_separates_stripes_and_ignores_where_in_a_stripe() -> None:
    generator = np.random.default_rng(2)
    images = generator.integers(0, 256, size=(300, 3, 24, 8), dtype=np.uint8)
    assert appearance_prior(images).shape == (300, 6 * 3 * 8)
    mirrored = appearance_prior(images[..., ::-1])
    assert np.array_equal(appearance_prior(images), mirrored)
    upside_down = np.zeros((2, 3, 24, 8), dtype=np.uint8)
    upside_down[0, :, :12] = 200
    upside_down[1, :, 12:] = 200
    assert cosines(appearance_prior(upside_down))[0, 1] == pytest.approx(0)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_cosine_is_the_weighted_mean_of_both(weight: float) -> None:
    generator = np.random.default_rng(3)
    features, prior = generator.normal(size=(9, 16)).astype(np.float32), generator.random((9, 7)).astype(np.float32)
    mixed = with_prior(features, prior, weight=weight)
    assert mixed.dtype == np.float32
    assert np.allclose(mixed @ mixed.T, (1 - weight) * cosines(features) + weight * cosines(prior), atol=1e-6)


def test_wrong_input_is_named() -> None:
    features = np.ones((3, 4), dtype=np.float32)
    with pytest.raises(InputError, match=r"one camera per feature \(3\), found 2"):
        centre_per_camera(features, np.array([1, 2]))
    with pytest.raises(InputError, match=r"one row per feature \(3\).*2 rows and weight"):
        with_prior(features, features[:2], weight=0.5)
    with pytest.raises(InputError, match=r"weight 1\.5"):
        with_prior(features, features, weight=1.5)
    with pytest.raises(InputError, match=r"expected images uint8 \[N, 3, H, W\]"):
        appearance_prior(np.zeros((2, 24, 8, 3), dtype=np.uint8))
