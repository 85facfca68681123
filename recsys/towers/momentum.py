"""What momentum distillation remembers: slow copies of the encoders, and a queue of what they saw (1911.05722)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn

from recsys.exceptions import ConfigError

NO_ITEM = -1


class Momentum(nn.Module):
    """Copies whose parameters follow the originals' slowly and get no gradient; always in evaluation mode.

    Args:
        copies: by name; each has the parameter names of its original, or some of them.
        momentum: share of the old value that a step keeps.
    """

    def __init__(self, copies: Mapping[str, nn.Module], momentum: float) -> None:
        super().__init__()
        self.copies = nn.ModuleDict(copies).requires_grad_(False)
        self.momentum = momentum
        self.eval()

    def __getitem__(self, name: str) -> nn.Module:
        return self.copies[name]

    def __contains__(self, name: str) -> bool:
        return name in self.copies

    def train(self, mode: bool = True) -> Momentum:
        return super().train(False)

    @torch.no_grad()
    def follow(self, originals: Mapping[str, nn.Module]) -> None:
        """``copy = momentum * copy + (1 - momentum) * original``; buffers (running statistics) are taken over.

        Raises:
            ConfigError: the originals have other parameters than when they were copied.
        """
        for name, copy in self.copies.items():
            parameters = dict(originals[name].named_parameters())
            if lost := sorted(dict(copy.named_parameters()).keys() - parameters.keys()):
                raise ConfigError(
                    f"Slow copies cannot follow {name}, which has no {lost[0]} any more.",
                    "Train without LoRA, or set `queue` and `alpha` to 0.",
                )
            for key, slow in copy.named_parameters():
                slow.lerp_(parameters[key], 1 - self.momentum)
            buffers = dict(originals[name].named_buffers())
            for key, buffer in copy.named_buffers():
                buffer.copy_(buffers[key])


class FeatureQueue(nn.Module):
    """The last pairs of text and picture vectors that the copies made, as negatives for the steps to come.

    Persistent buffers, so a resumed run has them. Where a batch does not fit behind the last, it goes on at the front.
    Workers that share a batch hold the same queue.

    Args:
        size: pairs it holds.
        width: of the vectors.
    """

    text: Tensor
    image: Tensor
    items: Tensor
    place: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("text", torch.zeros(size, width))
        self.register_buffer("image", torch.zeros(size, width))
        self.register_buffer("items", torch.full((size,), NO_ITEM))  # rows of the items
        self.register_buffer("place", torch.zeros((), dtype=torch.long))  # where the next pair goes

    @torch.no_grad()
    def push(self, text: Tensor, image: Tensor, items: Tensor) -> None:
        """Put pairs in the place of the oldest; of more pairs than it holds, the last stay.

        Args:
            text: unit vectors ``[n, width]``.
            image: unit vectors ``[n, width]``.
            items: rows of their items, int ``[n]``; :data:`NO_ITEM` where there is no pair. Workers have equal n.
        """
        if self.size == 0:
            return
        text, image, items = (_of_all_workers(part) for part in (text, image, items))
        last = (items != NO_ITEM).nonzero()[-self.size :, 0]
        text, image, items = text[last], image[last], items[last]
        places = (self.place + torch.arange(len(items), device=self.place.device)) % self.size
        self.text[places] = text.to(self.text.dtype)
        self.image[places] = image.to(self.image.dtype)
        self.items[places] = items.to(self.items.device, self.items.dtype)
        self.place.copy_((self.place + len(items)) % self.size)

    def filled(self) -> tuple[Tensor, Tensor, Tensor]:
        """Text vectors, picture vectors and item rows of the pairs in it; it fills from the front."""
        count = int((self.items != NO_ITEM).sum())
        return self.text[:count], self.image[:count], self.items[:count]


def _of_all_workers(rows: Tensor) -> Tensor:
    if not (dist.is_available() and dist.is_initialized()):
        return rows
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)
