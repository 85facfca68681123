"""Contrastive losses over a batch, with multi-positive masks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def info_nce(
    a: Tensor, b: Tensor, logit_scale: Tensor, ids_a: Tensor, ids_b: Tensor, *, same_space: bool = False
) -> Tensor:
    """Symmetric InfoNCE of n matched pairs (2103.00020) in which equal ids are positives, not negatives.

    Row i's targets are uniform over the columns j with ``ids_b[j] == ids_b[i]``; likewise for columns. Where both sides
    are items of one catalogue, a column that *is* the row's own item is neither positive nor negative and is left out.

    Args:
        a: unit vectors ``[n, d]``.
        b: their partners ``[n, d]``.
        logit_scale: log of the inverse temperature.
        ids_a: item ids ``[n]`` of ``a``.
        ids_b: item ids ``[n]`` of ``b``.
        same_space: whether ``a`` and ``b`` are different items (behaviour pairs), rather than two views of one.

    Returns:
        The mean over both directions, 0 for an empty batch.
    """
    if len(a) == 0:
        return a.sum() * 0.0
    logits = logit_scale.exp() * a @ b.T
    own = (ids_a[:, None] == ids_b[None, :]) if same_space else None
    rows = _multi_positive_cross_entropy(logits, ids_b[:, None] == ids_b[None, :], own)
    columns = _multi_positive_cross_entropy(
        logits.T, ids_a[:, None] == ids_a[None, :], own.T if own is not None else None
    )
    return (rows + columns) / 2


def _multi_positive_cross_entropy(logits: Tensor, positive: Tensor, excluded: Tensor | None) -> Tensor:
    if excluded is not None:
        logits = logits.masked_fill(excluded, -torch.inf)
        positive = positive & ~excluded
    log_probability = F.log_softmax(logits, dim=1).masked_fill(~positive, 0.0)
    return -(log_probability.sum(dim=1) / positive.sum(dim=1)).mean()
