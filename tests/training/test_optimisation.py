from __future__ import annotations

import pytest
import torch
from torch import nn

from itkm.training.optimisation import MovingAverage, learning_rate


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_learning_rate_rises_in_a_line_and_falls_along_a_cosine(warmup: float) -> None:
    rates = [learning_rate(step / 1000, warmup=warmup) for step in range(1001)]
    top = rates.index(max(rates))
    assert top / 1000 == pytest.approx(warmup, abs=0.002)
    assert max(rates) == pytest.approx(1.0, abs=0.01)
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[:top] == sorted(rates[:top])
    assert rates[-1] == pytest.approx(0.01)
    assert min(rates) >= 0.01 - 1e-9
    if warmup:
        assert learning_rate(warmup / 2, warmup=warmup) == pytest.approx(0.5)
    assert learning_rate((1 + warmup) / 2, warmup=warmup) == pytest.approx(0.505)


def test_moving_average_of_parameters_and_a_copy_of_buffers() -> None:
    network = nn.BatchNorm1d(2)
    average = MovingAverage(network, decay=0.9)
    expected = network.weight.detach().clone()
    for step in range(1, 4):
        with torch.no_grad():
            network.weight.add_(step)
            network.running_mean = torch.full((2,), float(step))
        average.update(network)
        expected = 0.9 * expected + 0.1 * network.weight.detach()
        assert torch.allclose(average.network.weight, expected)
        assert average.network.running_mean is not None
        assert average.network.running_mean.tolist() == [step, step]
    assert not average.network.weight.requires_grad
    assert not average.network.training
    assert network.training


def test_decay_zero_is_the_network_itself() -> None:
    network = nn.Linear(3, 2)
    average = MovingAverage(network, decay=0.0)
    nn.init.normal_(network.weight)
    average.update(network)
    assert torch.equal(average.network.weight, network.weight)
