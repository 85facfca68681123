"""Ema: a running average of a tower's weights, which is smoother than the last of them (2006.05987 and others)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from recsys.towers.weights import unique_weights


class Ema:
    """Average of the weights after each step: ``decay * average + (1 - decay) * weights``.

    Args:
        module: whose weights.
        decay: share of the old average that is kept; 0 follows the weights.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = module
        self.decay = decay
        self.average = {name: tensor.clone() for name, tensor in unique_weights(module).items()}

    @torch.no_grad()
    def update(self) -> None:
        for name, tensor in unique_weights(self.module).items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1 - self.decay)
            else:
                self.average[name].copy_(tensor)

    def load(self, average: Mapping[str, Tensor]) -> None:
        self.average = {name: average[name].to(tensor.device) for name, tensor in self.average.items()}

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The module has the average as its weights inside the block."""
        weights = unique_weights(self.module)
        kept = {name: tensor.clone() for name, tensor in weights.items()}
        _copy(weights, self.average)
        try:
            yield
        finally:
            _copy(weights, kept)


@torch.no_grad()
def _copy(target: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(source[name])
