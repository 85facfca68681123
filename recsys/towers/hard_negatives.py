"""Hard negatives for matching: one wrong partner a row, the likelier the more it resembles a right one (2107.07651)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


@torch.no_grad()
def draw_hard_negatives(similarity: Tensor, same: Tensor, random: torch.Generator) -> Tensor:
    """For each row one column, drawn from the softmax of the similarities among those that may serve as negatives.

    Args:
        similarity: logits ``[n, m]``.
        same: pairs that are no negatives of each other, bool ``[n, m]``.
        random: on the CPU; one uniform number a row is taken from it, whatever the similarities.

    Returns:
        int64 ``[n]`` on the similarities' device; -1 for a row where nothing is left.
    """
    chances = torch.rand(len(similarity), 1, generator=random, dtype=torch.float64)
    if similarity.numel() == 0:
        return torch.full((len(similarity),), -1, dtype=torch.long, device=similarity.device)
    usable = ~same & similarity.isfinite()
    logits = similarity.double().masked_fill(~usable, -torch.inf)
    weights = torch.softmax(logits, dim=1).nan_to_num(0)  # a row without a usable column is all NaN
    edges = weights.cumsum(dim=1)
    # A column owns the interval up to its edge: an unusable one owns nothing, even where the number drawn is 0.
    drawn = torch.searchsorted(edges, chances.to(edges.device) * edges[:, -1:], right=True).squeeze(1)
    last = usable.size(1) - 1 - usable.flip(1).int().argmax(dim=1)
    return torch.where(usable.any(dim=1), drawn.minimum(last), -1)


def matching_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy in which the right pairs weigh as much as the wrong ones, so that log odds of 0 lie between them.

    Args:
        logits: no or yes, ``[n, 2]``.
        labels: 1 for a right pair, int64 ``[n]``.
    """
    losses = F.cross_entropy(logits, labels, reduction="none")
    return torch.stack([losses[labels == kind].mean() for kind in labels.unique()]).mean()
