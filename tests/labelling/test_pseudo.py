from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from itkm.errors import InputError
from itkm.labelling.pseudo import pseudo_labels
from itkm.labelling.settings import LabellingSettings

SMALL: dict[str, Any] = {"k1": 12, "k2": 1, "eps": 0.7, "min_samples": 3}


def persons_and_strays(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """8 persons of 12 images, and 2 images of nobody; the strays come first."""
    generator = np.random.default_rng(seed)
    persons = np.concatenate([np.full(2, -1), np.repeat(np.arange(8), 12)])
    features = generator.normal(size=(8, 48))[persons] + 0.5 * generator.normal(size=(len(persons), 48))
    features[:2] = generator.normal(size=(2, 48))
    return features.astype(np.float32), persons


@pytest.mark.parametrize("method", ["dbscan", "hdbscan"])
def test_persons_become_clusters_and_labels_stay_dense_after_outliers(method: Any) -> None:
    features, persons = persons_and_strays()
    labels = pseudo_labels(torch.from_numpy(features), LabellingSettings(method=method, **SMALL))
    assert labels.dtype == np.int64
    assert (labels[:2] == -1).all()
    assert {tuple(np.unique(labels[persons == person])) for person in range(8)} == {(label,) for label in range(8)}


def test_singletons_follow_the_clusters_in_the_order_of_the_images() -> None:
    features, _ = persons_and_strays()
    labels = pseudo_labels(features, LabellingSettings(outliers="singletons", **SMALL))
    assert labels[:2].tolist() == [8, 9]
    assert np.array_equal(np.unique(labels), np.arange(10))


def test_singletons_of_features_without_any_cluster() -> None:
    labels = pseudo_labels(
        np.eye(12, dtype=np.float32), LabellingSettings(k1=2, k2=1, min_samples=4, outliers="singletons")
    )
    assert labels.tolist() == list(range(12))


def test_the_same_features_give_the_same_labels() -> None:
    features, _ = persons_and_strays(3)
    settings = LabellingSettings(**SMALL)
    assert np.array_equal(pseudo_labels(features, settings), pseudo_labels(features, settings))


def test_the_order_of_the_images_changes_only_the_numbers() -> None:
    features, _ = persons_and_strays(4)
    order = np.random.default_rng(0).permutation(len(features))
    labels = pseudo_labels(features, LabellingSettings(**SMALL))
    shuffled = pseudo_labels(features[order], LabellingSettings(**SMALL))
    together = (labels[order][:, None] == labels[order]) & (labels[order] >= 0)
    assert np.array_equal(together, (shuffled[:, None] == shuffled) & (shuffled >= 0))


@pytest.mark.parametrize(("count", "settings"), [(29, {}), (1, {"k1": 1, "k2": 1}), (0, {"k1": 1, "k2": 1})])
def test_too_few_features_say_what_to_do(count: int, settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{count} features.*Lower k1 or use more images"):
        pseudo_labels(np.ones((count, 4), dtype=np.float32), LabellingSettings(**settings))


@pytest.mark.parametrize(
    "wrong", [{"eps": 1.0}, {"eps": 0.0}, {"k1": 0}, {"min_samples": 1}, {"method": "kmeans"}, {"epsilon": 0.5}]
)
def test_settings_refuse_what_they_do_not_know(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        LabellingSettings(**wrong)


def test_every_setting_is_described() -> None:
    assert all(field.description for field in LabellingSettings.model_fields.values())


def test_the_method_imports_without_faiss_hdbscan_and_scikit_learn() -> None:
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['faiss', 'hdbscan', 'sklearn']))\n"
        "import numpy, itkm.labelling.pseudo, itkm.matching.instances, itkm.evaluation.quality\n"
        "from itkm.labelling.settings import LabellingSettings\n"
        "rows = numpy.repeat(numpy.eye(3, dtype='float32'), 5, axis=0)\n"
        "labels = itkm.labelling.pseudo.pseudo_labels(rows, LabellingSettings(k1=5, k2=2))\n"
        "assert labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5, labels\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
