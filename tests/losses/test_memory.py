from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from itkm.losses.memory import cluster_means, update_memory


def unit(rows: int, width: int, seed: int) -> Tensor:
    return normalize(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def update_one_by_one(memory: Tensor, rows: Tensor, queries: Tensor, momentum: float) -> Tensor:
    """The published loop over the batch: one query after the other."""
    memory = memory.clone()
    for row, query in zip(rows.tolist(), queries, strict=True):
        mixed = momentum * memory[row : row + 1] + (1 - momentum) * query[None]
        memory[row] = normalize(mixed, dim=1)[0]
    return memory


@pytest.mark.parametrize("momentum", [0.0, 0.2, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_update_is_bit_identical_to_the_loop_with_duplicates(seed: int, momentum: float) -> None:
    memory, queries = unit(6, 16, seed), unit(24, 16, seed + 100)
    rows = torch.randint(0, 6, (24,), generator=torch.Generator().manual_seed(seed))
    expected = update_one_by_one(memory, rows, queries, momentum)
    update_memory(memory, rows, queries, momentum=momentum)
    assert torch.equal(memory, expected)


def test_order_within_a_cluster_matters_and_is_that_of_the_batch() -> None:
    memory = torch.tensor([[1.0, 0.0]])
    update_memory(memory, torch.tensor([0, 0]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]), momentum=0.0)
    assert memory.tolist() == [[0.0, 1.0]]


def test_rows_without_a_query_keep_their_bits_and_all_rows_unit_norm() -> None:
    memory, queries = unit(5, 8, 0), unit(3, 8, 1)
    before = memory.clone()
    update_memory(memory, torch.tensor([4, 1, 4]), queries, momentum=0.2)
    assert torch.equal(memory[[0, 2, 3]], before[[0, 2, 3]])
    assert torch.allclose(memory.norm(dim=1), torch.ones(5))


def test_no_gradient_is_followed_and_an_empty_batch_changes_nothing() -> None:
    memory, queries = unit(2, 8, 0), unit(2, 8, 1).requires_grad_()
    update_memory(memory, torch.tensor([0, 1]), queries, momentum=0.5)
    assert not memory.requires_grad
    before = memory.clone()
    update_memory(memory, torch.empty(0, dtype=torch.long), queries[:0], momentum=0.5)
    assert torch.equal(memory, before)


def test_cluster_means_are_the_unit_means_of_the_members_without_outliers() -> None:
    features, labels = unit(9, 4, 3), [2, 0, -1, 1, 1, 0, 2, -1, 2]
    means = cluster_means(features, torch.tensor(labels))
    for cluster in range(3):
        members = [feature for feature, label in zip(features, labels, strict=True) if label == cluster]
        mean = torch.stack(members).sum(0) / len(members)
        assert torch.allclose(means[cluster], mean / mean.norm())
    assert means.shape == (3, 4)


@pytest.mark.parametrize("labels", [[], [-1, -1]])
def test_without_clusters_there_are_no_means(labels: list[int]) -> None:
    assert cluster_means(unit(len(labels), 4, 0), torch.tensor(labels, dtype=torch.long)).shape == (0, 4)
