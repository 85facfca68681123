"""What may see what in the Q-Former's self-attention over [queries | text]: the three masks of BLIP-2 (2301.12597)."""

from __future__ import annotations

import torch
from torch import Tensor


def uni_modal(queries: int, real: Tensor) -> Tensor:
    """For contrast: neither side sees the other, and padding is seen by nobody.

    Args:
        queries: how many there are; 0 for a text alone.
        real: which tokens are no padding, bool ``[n, length]``.

    Returns:
        bool ``[n, 1, queries + length, queries + length]``; row i may see column j where true.
    """
    mask = bi_directional(queries, real).clone()
    mask[:, :, :queries, queries:] = False
    mask[:, :, queries:, :queries] = False
    return mask


def bi_directional(queries: int, real: Tensor) -> Tensor:
    """For matching: all see all, but for padding. Arguments and result as of :func:`uni_modal`."""
    seen = torch.cat([real.new_ones(len(real), queries), real], dim=1)
    return seen[:, None, None, :].expand(-1, 1, seen.size(1), -1)


def multimodal_causal(queries: int, length: int, device: torch.device) -> Tensor:
    """For captioning: queries see queries; a token sees all queries, itself and earlier tokens.

    Padding stands at the end of a text, where no token of it looks.

    Returns:
        bool ``[queries + length, queries + length]``.
    """
    mask = torch.ones(queries + length, queries + length, dtype=torch.bool, device=device).tril()
    mask[:queries, :queries] = True
    return mask
