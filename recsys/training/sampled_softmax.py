"""Sampled softmax: the next item among all of a catalogue, estimated from some of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recsys.types import RowArray


@dataclass(frozen=True, eq=False)
class NegativeSampler:
    """Draws items to compare with, frequent ones more often.

    Half of the draws follow how often an item was engaged with, where a model must be told apart what is near, and half
    are even, so that every item is pushed away from somewhere.

    Attributes:
        items: rows that are drawn from, int32 ``[n]``.
        chances: of each, ``[n]``, adding up to 1.
    """

    items: RowArray
    chances: npt.NDArray[np.float64]

    @classmethod
    def of(cls, counts: npt.NDArray[np.int64]) -> NegativeSampler:
        """Over the items that were engaged with at all.

        Args:
            counts: engagements by item row.
        """
        items = np.flatnonzero(counts).astype(np.int32)
        share = counts[items] / counts[items].sum()
        return cls(items, (share + 1 / len(items)) / 2)

    def draw(self, count: int, random: np.random.Generator) -> tuple[RowArray, Tensor]:
        """``count`` items with replacement, and the log of how often each is expected, float32 ``[count]``."""
        places = random.choice(len(self.items), count, p=self.chances)
        expected = np.log(count * self.chances[places])
        return self.items[places], torch.from_numpy(expected.astype(np.float32))


def sampled_softmax(positive: Tensor, negative: Tensor, log_expected: Tensor, excluded: Tensor) -> Tensor:
    """Cross-entropy of the right item among all, where the others are known from a sample (1412.2007).

    ``exp(negative - log_expected)`` summed over the sample is, on average, the sum over the items it was drawn from. So
    the correction is subtracted from what was sampled; the positive is always there and needs none.

    Args:
        positive: logits of the right items ``[m]``.
        negative: logits of sampled ones ``[m, c]``.
        log_expected: log of how often each was expected to be drawn ``[c]``; 0 where all items stand there once.
        excluded: those that are no negatives of a row, bool ``[m, c]``.

    Returns:
        The mean over the rows, 0 for none.
    """
    if len(positive) == 0:
        return positive.sum() * 0.0
    corrected = (negative - log_expected).masked_fill(excluded, torch.finfo(negative.dtype).min)
    return (torch.logaddexp(positive, corrected.logsumexp(dim=1)) - positive).mean()
