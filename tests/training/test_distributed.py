"""Two processes against one: what is dealt out, gathered and summed is what one process computes alone."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from itkm.data.training import TrainingImages
from itkm.errors import ItkmError
from itkm.models.encoder import Encoder
from itkm.training import distributed
from itkm.training.distributed import gather, is_first, joint_statistics, once, own_places, share, together
from itkm.training.extraction import extract
from together import run_joined, run_together

CPU = torch.device("cpu")


@pytest.mark.parametrize("count", [7, 2, 1])
def test_rows_are_dealt_out_and_gathered_in_their_order(tmp_path: Path, count: int) -> None:
    values = torch.arange(3.0 * count).view(count, 3)

    def work() -> tuple[Tensor, Tensor, list[int]]:
        places = own_places(count)
        return share(values), gather(share(values), count), [places.start, places.stop, places.step]

    for rank, (own, all_rows, places) in enumerate(run_together(work, tmp_path)):
        assert torch.equal(own, values[rank::2])
        assert torch.equal(all_rows, values)
        assert torch.equal(values[slice(*places)], own)


def test_the_first_process_works_for_all_and_is_the_only_one_that_speaks(tmp_path: Path) -> None:
    def work() -> tuple[int, bool]:
        return once(os.getpid), is_first()

    (first, speaks), (second, silent) = run_together(work, tmp_path)
    assert first == second != os.getpid()
    assert speaks and not silent


class Tower(nn.Module):
    """Convolution, two kinds of batch normalisation, and a weight that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.neck, self.unused = nn.BatchNorm1d(4, affine=False), nn.Linear(1, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.neck(self.norm(self.conv(images)).relu().mean((2, 3)))


def losses_and_weights(tower: Tower, images: Tensor, steps: int = 4) -> tuple[list[float], dict[str, Tensor]]:
    """A loss that mixes all rows of the batch, and the tower after some steps."""
    optimiser = torch.optim.SGD(tower.parameters(), lr=0.5, momentum=0.9)
    losses = []
    for _ in range(steps):
        with joint_statistics():
            features = gather(tower(share(images)), len(images))
        loss = torch.log_softmax(features @ features.T, dim=1).diagonal(1).neg().mean()
        optimiser.zero_grad()
        loss.backward()
        distributed.sum_gradients(list(tower.parameters()))
        optimiser.step()
        losses.append(loss.item())
    return losses, tower.state_dict()


@pytest.mark.parametrize("count", [8, 5])
def test_joint_batches_train_as_in_one_process(tmp_path: Path, count: int) -> None:
    torch.manual_seed(0)
    images = torch.randn(count, 3, 6, 5) + torch.arange(count).view(-1, 1, 1, 1)  # shares differ in their statistics
    initial = Tower().state_dict()

    def fresh() -> Tower:
        tower = Tower()
        tower.load_state_dict(initial)
        return tower.train()

    losses, weights = losses_and_weights(fresh(), images)
    assert losses[-1] < losses[0]
    found = run_together(lambda: losses_and_weights(fresh(), images), tmp_path)
    for own, state in found:
        assert own == pytest.approx(losses, rel=1e-4)
        for name, value in state.items():
            assert torch.allclose(value.float(), weights[name].float(), rtol=1e-3, atol=1e-5), name
    assert all(torch.equal(value, found[1][1][name]) for name, value in found[0][1].items())


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3, 2)])
def test_joint_batch_norm_is_torchs_own_in_values_statistics_and_gradients(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(1)
    values, weight, bias = torch.randn(shape) * 3 + 1, torch.rand(4), torch.rand(4)
    wanted = torch.randn(shape)

    def work(joint: bool) -> list[Tensor]:
        x, scale, shift = (own.clone().requires_grad_() for own in (values, weight, bias))
        mean, var = torch.zeros(4), torch.ones(4)
        with joint_statistics() if joint else contextlib.nullcontext():
            out = nn.functional.batch_norm(share(x), mean, var, scale, shift, True, 0.1, 1e-5)
        (out * share(wanted)).sum().backward()
        assert x.grad is not None and scale.grad is not None and shift.grad is not None
        distributed.sum_gradients([x, scale, shift])
        return [gather(out.detach(), len(values)), mean, var, x.grad, scale.grad, shift.grad]

    expected = work(joint=False)
    for found in run_together(work, tmp_path, True):
        for own, theirs in zip(found, expected, strict=True):
            assert torch.allclose(own, theirs, rtol=1e-4, atol=1e-5)
    alone = run_together(work, tmp_path, False)  # without it the statistics are those of a share
    assert not torch.allclose(alone[0][0], expected[0], atol=1e-2)


def test_a_branch_without_an_image_here_still_takes_part(tmp_path: Path, encoder: Encoder) -> None:
    """All images of group 1 go to the second process; both must call the same collectives."""
    images = torch.rand(4, 3, 32, 16, generator=torch.Generator().manual_seed(0))
    scenario, group = torch.zeros(4, dtype=torch.int64), torch.tensor([0, 1, 0, 1])
    encoder.train()

    def work() -> tuple[Tensor, list[bool]]:
        encoder.zero_grad()
        with joint_statistics():
            outputs = encoder(*(share(own) for own in (images, scenario, group)), present=[0, 1])
        features = gather(outputs[0], 4)
        features.square().sum().backward()
        stems = [next(stem.parameters()).grad for stem in encoder.stems]
        return features.detach(), [own is not None for own in stems]

    with torch.no_grad():
        expected = encoder(images, scenario, group)[0]
    for features, reached in run_together(work, tmp_path):
        assert torch.allclose(features, expected, rtol=1e-3, atol=1e-3)
        assert reached == [True, True]


def test_extraction_is_shared_and_everyone_gets_all(
    tmp_path: Path, encoder: Encoder, scenarios: list[TrainingImages], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = scenarios[0]
    expected = extract(encoder, own.images, scenario=0, group=own.group)

    def work() -> tuple[Tensor, Tensor, int]:
        seen: list[int] = []
        encoder.neck.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
        return (*extract(encoder, own.images, scenario=0, group=own.group), sum(seen))

    for features, projected, seen in run_together(work, tmp_path):
        assert torch.allclose(features, expected[0], atol=1e-6)
        assert torch.allclose(projected, expected[1], atol=1e-6)
        assert seen == len(own.images) // 2


def test_a_lost_partner_ends_the_run_with_a_message(tmp_path: Path) -> None:
    def work() -> str:
        try:
            with together(CPU):
                if not is_first():
                    os._exit(0)
                gather(torch.ones(1, 1), 2)
        except ItkmError as error:
            return str(error)
        return "nothing happened"

    (said, _) = run_joined(work, tmp_path)
    assert said is not None
    assert re.search(r"another process of this run ended.*goes on from the last checkpoint", said)


def test_what_was_heard_of_a_lost_connection_is_handed_on(tmp_path: Path) -> None:
    """NCCL calls everything an error of the connection, two processes on one GPU too."""

    def work() -> str:
        try:
            with together(CPU):
                dist.barrier()  # else the first one may end while the other still joins
                raise dist.DistBackendError("NCCL error: invalid usage\nDuplicate GPU detected : rank 1 and rank 0\n")
        except ItkmError as error:
            return str(error)

    assert all(
        said.endswith("heard here: Duplicate GPU detected : rank 1 and rank 0") for said in run_joined(work, tmp_path)
    )


def test_alone_nothing_happens() -> None:
    values = torch.ones(3, 2)
    with together(CPU), joint_statistics():
        assert share(values) is values
        assert gather(values, 3) is values
        assert is_first()
        assert once(lambda: values) is values
