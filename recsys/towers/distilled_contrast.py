"""Image-text contrast against slow encoders and their queue, targets softened by what those believe (2107.07651)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def distilled_contrast(
    text: Tensor,
    image: Tensor,
    keys: tuple[Tensor, Tensor],
    same: Tensor,
    temperature: Tensor,
    alpha: float = 0.0,
) -> Tensor:
    """Mean of text -> image and image -> text cross-entropy.

    The targets are ``alpha * softmax(slow similarity) + (1 - alpha) * (uniform over the pairs that are the same)``.

    Args:
        text: unit vectors ``[n, d]``.
        image: those of the pictures beside them.
        keys: texts and images to tell apart, each ``[m, d]``: the n of the batch first, then the queue's. With slow
            encoders they are theirs; without, the batch's own.
        same: whether text (or image) i and key j are of one item, picture or text, bool ``[n, m]``.
        temperature: by which similarities are divided.
        alpha: weight of what the slow encoders believe.
    """
    hard = same.float() / same.sum(dim=1, keepdim=True)
    loss = torch.zeros((), device=text.device)
    for live, slow, others in ((text, keys[0], keys[1]), (image, keys[1], keys[0])):
        target = hard
        if alpha > 0:
            with torch.no_grad():
                believed = F.softmax(slow[: len(live)] @ others.T / temperature, dim=1)
                target = alpha * believed + (1 - alpha) * hard
        loss = loss + F.cross_entropy(live @ others.T / temperature, target) / 2
    return loss
