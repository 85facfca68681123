"""Item pairs mined from behaviour: who engaged with A and soon after with B (NoteLLM, 2403.01744)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import sparse

from recsys.config import BaseConfig
from recsys.data.interactions import Interactions
from recsys.types import FloatArray, RowArray


class PairConfig(BaseConfig):
    """How pairs are mined."""

    window: int = Field(default=10, ge=1)  # B is among the next `window` engagements after A
    top: int = Field(default=20, ge=1)  # partners kept per A
    lower: float = Field(default=0.0, ge=0)  # pairs must score above this
    upper: float | None = Field(default=None, gt=0)  # and at most this; None for no limit


@dataclass(frozen=True, eq=False)
class ItemPairs:
    """Directed pairs A -> B, sorted by A, then falling score.

    Attributes:
        a: item rows, int32 ``[pairs]``.
        b: item rows, int32 ``[pairs]``.
        scores: sum over users of 1 / N_u, float32 ``[pairs]``.
    """

    a: RowArray
    b: RowArray
    scores: FloatArray

    def __len__(self) -> int:
        return len(self.a)

    def where(self, keep: npt.NDArray[np.bool_]) -> ItemPairs:
        return ItemPairs(self.a[keep], self.b[keep], self.scores[keep])


def transitions(
    interactions: Interactions, window: int, step_decay: float = 1.0, user_weights: FloatArray | None = None
) -> sparse.csr_array:
    """Sum over users of weight(u) * step_decay^(steps - 1) where B came ``steps <= window`` engagements after A.

    Args:
        interactions: what to count.
        window: largest number of engagements from A to B.
        step_decay: per further step between A and B.
        user_weights: float32 ``[users]``; 1 for everyone where not given.

    Returns:
        float32 ``[items, items]``, row A, column B.
    """
    items, users = interactions.items, interactions.users
    n = len(interactions.items_map)
    total = sparse.csr_array((n, n), dtype=np.float32)
    for steps in range(1, window + 1):
        same_user = users[steps:] == users[:-steps]
        a, b = items[:-steps][same_user], items[steps:][same_user]
        weights = np.ones(len(a), np.float32) if user_weights is None else user_weights[users[steps:][same_user]]
        values = np.float32(step_decay ** (steps - 1)) * weights
        total = total + sparse.csr_array((values, (a, b)), shape=(n, n))
    return total


def transition_scores(interactions: Interactions, window: int) -> sparse.csr_array:
    """s(A -> B) = sum of 1 / N_u over the users who engaged with B within ``window`` engagements after A.

    N_u is the number of items the user engaged with, so that a very active user says less with each pair.
    """
    counts = np.bincount(interactions.users, minlength=len(interactions.users_map))
    return transitions(interactions, window, user_weights=(1 / np.maximum(counts, 1)).astype(np.float32))


def mine_pairs(interactions: Interactions, config: PairConfig) -> ItemPairs:
    """The ``top`` partners of each item among the pairs whose score lies in (lower, upper]."""
    scores = transition_scores(interactions, config.window).tocoo()
    keep = (scores.data > config.lower) & (scores.data <= (np.inf if config.upper is None else config.upper))
    a, b, score = scores.row[keep], scores.col[keep], scores.data[keep]
    order = np.lexsort((b, -score, a))
    a, b, score = a[order], b[order], score[order]
    rank = np.arange(len(a)) - np.searchsorted(a, a, side="left")
    best = rank < config.top
    return ItemPairs(a[best].astype(np.int32), b[best].astype(np.int32), score[best])
