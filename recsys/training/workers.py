"""Several workers that train one tower on slices of one batch: gather with gradient, averaged gradients.

Every function is the identity where ``torch.distributed`` is not initialised, so the trainer has one path.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def count() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if count() > 1 else 0


@contextlib.contextmanager
def one_after_another() -> Iterator[None]:
    """The first worker goes through the block alone; then the others, who find what it has written."""
    if count() > 1 and rank() > 0:
        dist.barrier()
    yield
    if count() > 1 and rank() == 0:
        dist.barrier()


def share_of(n: int) -> slice:
    """The rows of a batch of ``n`` that this worker computes."""
    size = n // count()
    return slice(rank() * size, (rank() + 1) * size)


def gather(rows: Tensor) -> Tensor:
    """The rows of all workers in order, ``[n * workers, d]``; gradients flow back to the worker they came from.

    Each worker computes the whole loss from the gathered rows, so a row receives the sum of as many equal gradients as
    there are workers; :func:`average_gradients` divides by that.
    """
    gathered: Tensor = rows if count() == 1 else _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.rows = len(rows)
        parts = [torch.empty_like(rows) for _ in range(count())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient[rank() * ctx.rows : (rank() + 1) * ctx.rows]


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the workers; one that is missing here counts as zero."""
    if count() == 1:
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([parameter.grad.flatten() for parameter in trained if parameter.grad is not None])
    dist.all_reduce(flat)
    flat /= count()
    start = 0
    for parameter in trained:
        assert parameter.grad is not None
        parameter.grad.copy_(flat[start : start + parameter.numel()].view_as(parameter))
        start += parameter.numel()


def mean(value: float) -> float:
    """Mean of a number over the workers."""
    if count() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(total)
    return float(total) / count()
