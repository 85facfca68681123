"""Contrastive losses over a batch, with multi-positive masks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def info_nce(a: Tensor, b: Tensor, logit_scale: Tensor, ids: Tensor) -> Tensor:
    """Symmetric InfoNCE of n matched views (2103.00020) in which equal ids are positives, not negatives.

    Row i's targets are uniform over the columns j with ``ids[j] == ids[i]``; likewise for columns.

    Args:
        a: one view of the items, unit vectors ``[n, d]``.
        b: another view ``[n, d]``.
        logit_scale: log of the inverse temperature.
        ids: of the items, ``[n]``.

    Returns:
        The mean over both directions, 0 for an empty batch.
    """
    if len(a) == 0:
        return a.sum() * 0.0
    logits = logit_scale.exp() * a @ b.T
    target = (ids[:, None] == ids[None, :]).to(logits.dtype)
    target = target / target.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def pair_info_nce(vectors: Tensor, logit_scale: Tensor, affinity: Tensor, ids: Tensor) -> Tensor:
    """InfoNCE among the items of one batch, each row's positives being its mined partners (after 2403.01744).

    One n x n matrix in which an item is never compared with itself. Where NoteLLM has one partner as the label, a row's
    target is spread over all partners in the batch by their pair scores: a known partner is thus never a negative. Rows
    without a partner are skipped.

    Args:
        vectors: unit vectors of items ``[n, d]``.
        logit_scale: log of the inverse temperature.
        affinity: pair scores between them, ``[n, n]``, 0 where not a pair.
        ids: of the items, ``[n]``; an item may occur twice.

    Returns:
        The mean over rows with a partner, 0 where there is none.
    """
    own = ids[:, None] == ids[None, :]
    mass = affinity.masked_fill(own, 0.0)
    total = mass.sum(dim=1, keepdim=True)
    partnered = total[:, 0] > 0
    if not partnered.any():
        return vectors.sum() * 0.0
    logits = (logit_scale.exp() * vectors @ vectors.T).masked_fill(own, -torch.inf)
    log_probability = F.log_softmax(logits[partnered], dim=1).masked_fill(own[partnered], 0.0)
    return -((mass / total.clamp(min=1e-12))[partnered] * log_probability).sum(dim=1).mean()
