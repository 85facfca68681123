"""Choosing the next token when writing: the likeliest, or a draw from the likeliest few (nucleus, 1904.09751)."""

from __future__ import annotations

import torch
from torch import Tensor


def next_token(logits: Tensor, top_p: float | None = None, random: torch.Generator | None = None) -> Tensor:
    """One token a row.

    Args:
        logits: ``[n, vocab_size]``.
        top_p: draw from the smallest set of tokens that together have at least this probability; default: greedy.
        random: on the CPU; for drawing.

    Returns:
        int64 ``[n]``.
    """
    if top_p is None:
        return logits.argmax(dim=-1)
    probabilities, order = logits.float().softmax(dim=-1).sort(dim=-1, descending=True)
    before = probabilities.cumsum(dim=-1) - probabilities
    edges = torch.where(before < top_p, probabilities, 0.0).cumsum(dim=-1)
    drawn = torch.rand(len(logits), 1, generator=random).to(logits.device) * edges[:, -1:]
    place = torch.searchsorted(edges, drawn, right=True).clamp(max=logits.size(-1) - 1)
    kept = (before < top_p).sum(dim=-1, keepdim=True) - 1
    return order.gather(-1, place.minimum(kept)).squeeze(-1)
