"""Contrastive losses over a batch, with masks for what is no negative."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MOST_TWINS = 0.25
"""Share of a batch that can be so close to a positive that it is taken for the same rather than for not yet learned."""


def info_nce(a: Tensor, b: Tensor, logit_scale: Tensor, same: Tensor) -> Tensor:
    """Symmetric InfoNCE of n matched views (2103.00020) in which equal items are positives, not negatives.

    Row i's targets are uniform over the columns j with ``same[i, j]``; likewise for columns.

    Args:
        a: one view of the items, unit vectors ``[n, d]``.
        b: another view ``[n, d]``.
        logit_scale: log of the inverse temperature.
        same: which rows show one item, one picture or one text, symmetric bool ``[n, n]``, true on the diagonal.

    Returns:
        The mean over both directions, 0 for an empty batch.
    """
    if len(a) == 0:
        return a.sum() * 0.0
    logits = logit_scale.exp() * a @ b.T
    target = same.to(logits.dtype)
    target = target / target.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def sigmoid_loss(a: Tensor, b: Tensor, logit_scale: Tensor, logit_bias: Tensor, same: Tensor) -> Tensor:
    """SigLIP's loss (2303.15343): every pair of the batch is a yes or no of its own, no softmax over the batch.

    Args:
        a: one view of the items, unit vectors ``[n, d]``.
        b: another view ``[n, d]``.
        logit_scale: log of the inverse temperature.
        logit_bias: added to every logit; starts near the log odds of a match.
        same: as in :func:`info_nce`.

    Returns:
        Sum over the n x n pairs divided by n, 0 for an empty batch.
    """
    if len(a) == 0:
        return a.sum() * 0.0
    logits = logit_scale.exp() * a @ b.T + logit_bias
    return -F.logsigmoid(torch.where(same, logits, -logits)).sum() / len(a)


def pair_info_nce(
    vectors: Tensor,
    logit_scale: Tensor,
    affinity: Tensor,
    same: Tensor,
    log_q: Tensor | None = None,
    largest_cosine: float = 1.0,
) -> Tensor:
    """InfoNCE among the items of one batch, each row's positives being its mined partners (after 2403.01744).

    One n x n matrix in which an item is never compared with itself. Where NoteLLM has one partner as the label, a row's
    target is spread over all partners in the batch by their pair scores: a known partner is thus never a negative. Rows
    without a partner are skipped.

    Args:
        vectors: unit vectors of items ``[n, d]``.
        logit_scale: log of the inverse temperature.
        affinity: pair scores between them, ``[n, n]``, 0 where not a pair.
        same: as in :func:`info_nce`.
        log_q: log of how often each item is drawn, ``[n]``; subtracted from its logits as a column, so that the
            model learns what goes together rather than what is frequent (sampled softmax, 1706.07881).
        largest_cosine: a negative that is closer than this to a positive of the row is left out (2510.14788), unless
            much of the batch is: then the vectors have not been spread out yet, as at the start.

    Returns:
        The mean over rows with a partner, 0 where there is none.
    """
    mass = affinity.masked_fill(same, 0.0)
    total = mass.sum(dim=1, keepdim=True)
    partnered = total[:, 0] > 0
    if not partnered.any():
        return vectors.sum() * 0.0
    cosine = vectors @ vectors.T
    logits = logit_scale.exp() * cosine
    if log_q is not None:
        logits = logits - log_q
    excluded = same
    if largest_cosine < 1:
        positive = mass > 0
        near = ((positive.float() @ (cosine.detach() > largest_cosine).float()) > 0) & ~positive
        excluded = same | (near & (near.float().mean(dim=1, keepdim=True) < MOST_TWINS))
    logits = logits.masked_fill(excluded, -torch.inf)
    log_probability = F.log_softmax(logits[partnered], dim=1).masked_fill(excluded[partnered], 0.0)
    return -((mass / total.clamp(min=1e-12))[partnered] * log_probability).sum(dim=1).mean()


def distillation(a: Tensor, b: Tensor, teacher_a: Tensor, teacher_b: Tensor, logit_scale: Tensor) -> Tensor:
    """How far a student's similarities of two views are from its teacher's, in both directions (2307.12732).

    Args:
        a: one view, unit vectors ``[n, d]``.
        b: another view ``[n, d]``.
        teacher_a: the teacher's first view, unit vectors ``[n, e]``.
        teacher_b: its second ``[n, e]``.
        logit_scale: log of the inverse temperature, for both.

    Returns:
        Mean Kullback-Leibler divergence from teacher to student over rows and columns, 0 for an empty batch.
    """
    if len(a) == 0:
        return a.sum() * 0.0
    scale = logit_scale.exp()
    student, teacher = scale * a @ b.T, scale.detach() * teacher_a @ teacher_b.T
    both = [(student, teacher), (student.T, teacher.T)]
    parts = [
        F.kl_div(F.log_softmax(s, dim=1), F.log_softmax(t, dim=1), log_target=True, reduction="batchmean")
        for s, t in both
    ]
    return torch.stack(parts).mean()
