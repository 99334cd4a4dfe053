from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from itkm.losses.instance_nce import instance_nce
from itkm.losses.nce import cluster_nce


def unit(rows: int, width: int, seed: int) -> Tensor:
    values = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return normalize(values, dim=1)


def log_share(query: Tensor, memory: Tensor, positive: int, tau: float) -> float:
    """log of exp(q . phi_y / tau) / sum_k exp(q . phi_k / tau), by hand."""
    terms = [math.exp(float(query @ other) / tau) for other in memory]
    return math.log(terms[positive] / sum(terms))


@pytest.mark.parametrize("tau", [0.05, 0.5])
@pytest.mark.parametrize("labels", [[0, 3, 3, 1], [-1, 2, -1, 0], [4, -1, -1, -1]])
def test_cluster_nce_is_the_mean_over_the_labelled_queries(labels: list[int], tau: float) -> None:
    queries, memory = unit(4, 6, 0), unit(5, 6, 1)
    terms = [-log_share(queries[i], memory, y, tau) for i, y in enumerate(labels) if y >= 0]
    loss = cluster_nce(queries, memory, torch.tensor(labels), temperature=tau)
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-9)


def test_cluster_nce_falls_as_the_query_nears_its_own_mean() -> None:
    memory = torch.eye(3)
    near, far = (normalize(torch.tensor([[1.0, away, 0.0]]), dim=1) for away in (0.1, 0.9))
    label = torch.tensor([0])
    losses = [float(cluster_nce(query, memory, label, temperature=0.1)) for query in (near, far)]
    assert losses[0] < losses[1]


def test_gradient_of_cluster_nce_reaches_the_queries_alone() -> None:
    queries, memory = unit(3, 4, 0).requires_grad_(), unit(2, 4, 1)
    cluster_nce(queries, memory, torch.tensor([0, -1, 1]), temperature=0.1).backward()
    assert queries.grad is not None
    assert (queries.grad.abs().sum(1) > 0).tolist() == [True, False, True]


@pytest.mark.parametrize("clusters", [0, 5])
@pytest.mark.parametrize("rows", [0, 3])
def test_cluster_nce_without_labels_is_zero_with_a_graph(rows: int, clusters: int) -> None:
    queries = unit(rows, 4, 0).requires_grad_()
    loss = cluster_nce(queries, unit(clusters, 4, 1), torch.full((rows,), -1), temperature=0.05)
    assert loss.item() == 0
    loss.backward()
    assert queries.grad is not None
    assert not queries.grad.any()


def test_instance_nce_averages_the_positives_and_then_the_queries_that_have_one() -> None:
    queries, memory = unit(4, 5, 2), unit(6, 5, 3)
    positives = [[0, 2, 5], [], [1], [0, 1, 2, 3, 4, 5]]
    terms = [
        -sum(log_share(query, memory, j, 0.1) for j in own) / len(own)
        for query, own in zip(queries, positives, strict=True)
        if own
    ]
    mask = torch.tensor([[j in own for j in range(6)] for own in positives])
    loss = instance_nce(queries, memory, mask, temperature=0.1)
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-9)


def test_instances_that_are_left_out_are_no_negatives() -> None:
    queries, memory = unit(2, 5, 2), unit(6, 5, 3)
    asking = queries.clone().requires_grad_()
    positives = torch.tensor([[True, False, True, False, False, False], [False] * 5 + [True]])
    left_out = torch.tensor([[False, True, True, False, True, False], [False] * 6])
    loss = instance_nce(asking, memory, positives, temperature=0.1, left_out=left_out)
    fewer = memory[[0, 2, 3, 5]]  # the third one is a positive and stays
    terms = [-(log_share(queries[0], fewer, 0, 0.1) + log_share(queries[0], fewer, 1, 0.1)) / 2]
    terms.append(-log_share(queries[1], memory, 5, 0.1))
    assert loss.item() == pytest.approx(float(sum(terms)) / 2, rel=1e-9)
    loss.backward()
    assert asking.grad is not None and asking.grad.isfinite().all()


def test_instance_nce_of_one_positive_each_is_cluster_nce() -> None:
    queries, memory, labels = unit(4, 5, 2), unit(6, 5, 3), torch.tensor([5, 0, 2, 2])
    mask = torch.nn.functional.one_hot(labels, 6).bool()
    expected = cluster_nce(queries, memory, labels, temperature=0.05)
    assert torch.allclose(instance_nce(queries, memory, mask, temperature=0.05), expected)


@pytest.mark.parametrize(("rows", "others"), [(3, 4), (0, 4), (3, 0)])
def test_instance_nce_without_positives_is_zero_with_a_graph(rows: int, others: int) -> None:
    queries = unit(rows, 4, 0).requires_grad_()
    loss = instance_nce(queries, unit(others, 4, 1), torch.zeros(rows, others, dtype=torch.bool), temperature=0.05)
    assert loss.item() == 0
    loss.backward()
    assert queries.grad is not None
