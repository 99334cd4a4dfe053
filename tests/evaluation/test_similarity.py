from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from itkm.errors import InputError
from itkm.evaluation import similarity
from itkm.evaluation.features import FeatureSet
from itkm.evaluation.similarity import cosine


def some(count: int, width: int = 8) -> FeatureSet:
    features = np.random.default_rng(count).normal(size=(count, width)).astype(np.float32)
    return FeatureSet(features, np.ones(count, np.int64), np.ones(count, np.int64))


def test_a_block_is_the_cosine_of_its_queries_with_the_whole_gallery() -> None:
    query, gallery = some(7), some(5)
    expected = [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in gallery.features] for a in query.features]
    compare = cosine(query, gallery)
    assert compare(2, 5) == pytest.approx(np.array(expected)[2:5], abs=1e-6)
    assert compare(0, 7).dtype == np.float32


@pytest.mark.parametrize("others", [0, 1, 3])
def test_equal_images_are_exactly_as_close(others: int) -> None:
    """A matrix product of such a width rounds equal columns differently, by the tile that they fall into."""
    query, first, gallery = some(50, 768), some(1, 768), some(1001 + others, 768)
    places = np.arange(others, 1001 + others)
    gallery.features[places] = first.features
    block = cosine(query, gallery)(0, 50)
    assert (block[:, places] == block[:, places[:1]]).all()
    assert block == pytest.approx(query.unit_rows() @ gallery.unit_rows().T, abs=1e-6)


def test_small_products_do_not_wait_for_torch() -> None:
    script = """
import sys
import numpy as np
from itkm.evaluation.features import FeatureSet
from itkm.evaluation.protocols import protocol_named
from itkm.evaluation.ranking import score
some = FeatureSet(np.ones((3, 2), np.float32), np.arange(3), np.arange(3))
score(some, some, protocol_named("text"), verification=True)
assert "torch" not in sys.modules and "scipy" not in sys.modules, "slow start"
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_large_products_run_on_the_gpu_and_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery = some(40, 768), some(300, 768)
    on_cpu = cosine(query, gallery)(0, 40)
    monkeypatch.setattr(similarity, "_WORTH_A_DEVICE", 0)
    torch.cuda.reset_peak_memory_stats()
    assert cosine(query, gallery)(0, 40) == pytest.approx(on_cpu, abs=1e-5)
    assert torch.cuda.max_memory_allocated() > gallery.features.nbytes


def test_without_a_gpu_large_products_run_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery = some(4), some(3)
    expected = cosine(query, gallery)(0, 4)
    monkeypatch.setattr(similarity, "_WORTH_A_DEVICE", 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (cosine(query, gallery)(0, 4) == expected).all()


def test_features_of_two_models_are_refused() -> None:
    with pytest.raises(InputError, match="query features have 8 values and gallery features 6"):
        cosine(some(2), some(2, 6))
