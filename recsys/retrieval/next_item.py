"""Next-item source: a linear model, fitted in closed form, from the decayed recent history to the next engagement."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import linalg

from recsys.config import BaseConfig
from recsys.data.interactions import Interactions
from recsys.retrieval.linear import LinearSource
from recsys.types import RowArray


class NextItemConfig(BaseConfig):
    """What the model sees of the past, and how strongly it is held back."""

    last: int = Field(15, ge=1)  # newest engagements seen
    decay: float = Field(0.85, gt=0, lt=1)  # per engagement further back
    ridge: float = Field(500.0, gt=0)
    to_norm: float = Field(0.1, ge=0, le=1)  # divide an item's score by count ** to_norm; 0 favours popular items
    max_items: int = Field(8000, ge=1)  # most engaged items it knows


class NextItemSource(LinearSource):
    """Ridge regression of the next item on the decayed recent items (the SLIT of 2103.16104, one step ahead).

    B = (S'S + ridge I)^-1 S'T, where a row of S holds decay^age of the last items before an engagement and the same row
    of T that engagement. Unlike counting, it does not credit A for what the items around A explain better.

    Args:
        interactions: the sequences to learn from.
        config: see :class:`NextItemConfig`.
        name: of the source.
    """

    def __init__(self, interactions: Interactions, config: NextItemConfig, name: str = "next-item") -> None:
        counts = interactions.item_counts()
        super().__init__(name, counts, config.max_items, config.last, config.decay)
        column = np.full(len(counts), len(self.known))  # unknown items share a last column, which is cut off
        column[self.known] = np.arange(len(self.known))
        gram, cross = _moments(interactions.users, column[interactions.items], len(self.known), config)
        gram[np.diag_indices_from(gram)] += config.ridge
        factor = linalg.cho_factor(gram, lower=True, overwrite_a=True)
        solution = linalg.cho_solve(factor, cross, overwrite_b=True)
        self.weights = (solution / counts[self.known] ** config.to_norm).astype(np.float32)


def _moments(
    users: RowArray, items: npt.NDArray[np.int64], n: int, config: NextItemConfig
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """S'S and S'T, both ``[n, n]``, without making S.

    Two items ``lag`` engagements apart meet in the S of every moment from the later one on until the window or the
    user's sequence ends: decay^lag * (1 + decay^2 + decay^4 + ...), one term a moment.
    """
    width = n + 1
    gram, cross = np.zeros(width * width), np.zeros(width * width)
    to_end = np.searchsorted(users, users, side="right") - 1 - np.arange(len(users))
    squared = config.decay**2
    for lag in range(min(config.last + 1, len(users))):
        same_user = users[lag:] == users[: len(users) - lag]
        earlier, later = items[: len(items) - lag][same_user], items[lag:][same_user]
        if lag > 0:
            np.add.at(cross, earlier * width + later, config.decay ** (lag - 1))
        if lag < config.last:
            moments = np.minimum(config.last - lag, to_end[lag:][same_user])
            weight = config.decay**lag * (1 - squared**moments) / (1 - squared)
            np.add.at(gram, earlier * width + later, weight)
            if lag > 0:
                np.add.at(gram, later * width + earlier, weight)
    return gram.reshape(width, width)[:n, :n].copy(), cross.reshape(width, width)[:n, :n].copy()
