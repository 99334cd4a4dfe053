"""One training run in several processes, as `torchrun` starts them, that computes what one process would.

The joint batch is dealt out row by row: process r encodes rows r, r + n, r + 2n ... Batch statistics are joint, the
features are gathered, and every process computes the whole loss from all of them; so it updates its memories as all
others do, and the parts of the gradient add up to that of one process. Without `torchrun` all of this does nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous
from torch.nn.functional import batch_norm, pad
from torch.overrides import TorchFunctionMode

from itkm.errors import ItkmError

Result = TypeVar("Result")

# Others wait while the first process clusters. Not how a death is noticed: that closes connections at once.
PATIENCE = timedelta(hours=6)


def alone() -> bool:
    """Whether this is the only process of the run."""
    return not dist.is_initialized()


def is_first() -> bool:
    """Whether this process writes files and messages."""
    return alone() or dist.get_rank() == 0


def local_number() -> int:
    """This process' number on its machine, which is that of its GPU; 0 without `torchrun`."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextlib.contextmanager
def together(device: torch.device) -> Iterator[None]:
    """Joins the processes that `torchrun` started, over NCCL on GPUs and gloo on CPUs; all but the first fall silent.

    Raises:
        ItkmError: another process of the run ended.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store, rank, size = next(rendezvous("env://"))
    # `torchrun` keeps its store for a restart: without a prefix the addresses of the dead would be found in it.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = dist.PrefixStore(f"attempt {attempt}", store)  # type: ignore[attr-defined]
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    if not is_first():
        logging.getLogger("itkm").setLevel(logging.ERROR)
    try:
        yield
    except (dist.DistError, RuntimeError) as error:
        if not _lost_connection(error):
            raise
        heard = str(error).strip().rpartition("\n")[2]  # where no other process ended, this alone says what is wrong
        raise ItkmError(
            "another process of this run ended, and so does this one. Its own message says why; type the same command "
            f"again, and training goes on from the last checkpoint. All that was heard here: {heard}"
        ) from error
    finally:
        dist.destroy_process_group()


def _lost_connection(error: Exception) -> bool:
    """Whether a collective failed because a partner is gone; gloo says so in plain RuntimeErrors."""
    said = str(error).lower()
    return isinstance(error, dist.DistError) or "gloo" in said or "connection" in said


def share(values: Tensor) -> Tensor:
    """This process' rows of [B, ...]."""
    return values if alone() else values[dist.get_rank() :: dist.get_world_size()]


def own_places(count: int) -> slice:
    """The places of this process' rows among `count`."""
    return slice(0, count) if alone() else slice(dist.get_rank(), count, dist.get_world_size())


def gather(values: Tensor, count: int) -> Tensor:
    """All `count` rows from every process' share [b, ...]; gradients flow back to the own share."""
    if alone():
        return values
    gathered: Tensor = _Gather.apply(values, count)  # type: ignore[no-untyped-call]
    return gathered


def sum_gradients(parameters: Sequence[Tensor]) -> None:
    """Adds up the gradients of all processes, in place: each has that of its own rows alone."""
    if alone():
        return
    gradients = [own.grad for own in parameters if own.grad is not None]
    flat = torch.cat([own.flatten() for own in gradients])
    dist.all_reduce(flat)
    for own, summed in zip(gradients, flat.split([own.numel() for own in gradients]), strict=True):
        own.copy_(summed.view(own.shape))


def once(work: Callable[[], Result]) -> Result:
    """The result of `work`, which the first process does alone and sends to all others."""
    if alone():
        return work()
    box = [work() if is_first() else None]
    dist.broadcast_object_list(box, device=torch.device("cpu"))
    result: Any = box[0]
    return result  # type: ignore[no-any-return]


def joint_statistics() -> contextlib.AbstractContextManager[object]:
    """Within it, batch normalisation in training mode takes its statistics over the shares of all processes."""
    return contextlib.nullcontext() if alone() else _JointStatistics()


class _JointStatistics(TorchFunctionMode):
    """Stands in for `batch_norm`, whichever module calls it: towers have several kinds of them.

    torch's SyncBatchNorm needs GPUs.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is batch_norm and kwargs.get("training"):
            return joint_batch_norm(*args, **kwargs)
        return func(*args, **kwargs)


def joint_batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm` in training mode over the rows of all processes; x is a share [b, C, ...]."""
    others = [dim for dim in range(x.dim()) if dim != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    values = x.to(torch.promote_types(x.dtype, torch.float32))
    count = values.new_tensor([x.numel() // x.shape[1]])
    dist.all_reduce(count)
    mean = _Sum.apply(values.sum(others)) / count  # type: ignore[no-untyped-call]
    centred = values - mean.view(shape)
    var = _Sum.apply(centred.square().sum(others)) / count  # type: ignore[no-untyped-call]
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(var * count / (count - 1), momentum)
    scale = torch.rsqrt(var + eps) if weight is None else weight * torch.rsqrt(var + eps)
    result: Tensor = centred * scale.view(shape)
    return (result if bias is None else result + bias.view(shape)).to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum over all processes. Each uses it for its own rows, so the gradient is a sum over all, too."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].contiguous().clone()
        dist.all_reduce(summed)
        return summed


class _Gather(torch.autograd.Function):
    """All rows from all shares. Each process computes the whole loss, so its own rows' gradient is complete."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, count: int) -> Tensor:
        size = dist.get_world_size()
        most = -(-count // size)
        padding = [0, 0] * (values.dim() - 1) + [0, most - len(values)]
        padded = pad(values, padding).contiguous()
        parts = [torch.empty_like(padded) for _ in range(size)]
        dist.all_gather(parts, padded)
        rows_of_all: Tensor = torch.stack(parts, dim=1).flatten(0, 1)[:count]
        return rows_of_all

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return share(gradients[0]).contiguous(), None
