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
    upper: float = Field(default=float("inf"), gt=0)  # and at most this


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


def transition_scores(interactions: Interactions, window: int) -> sparse.csr_array:
    """s(A -> B) = sum of 1 / N_u over the users who engaged with B within ``window`` engagements after A.

    N_u is the number of items the user engaged with, so that a very active user says less with each pair.

    Returns:
        float32 ``[items, items]``.
    """
    items, users = interactions.items, interactions.users
    n = len(interactions.items_map)
    weight = (1.0 / np.maximum(np.bincount(users), 1))[users] if len(users) else np.empty(0)
    total = sparse.csr_array((n, n), dtype=np.float32)
    for step in range(1, window + 1):
        same_user = users[step:] == users[:-step]
        a, b = items[:-step][same_user], items[step:][same_user]
        total = total + sparse.csr_array((weight[step:][same_user].astype(np.float32), (a, b)), shape=(n, n))
    return total


def mine_pairs(interactions: Interactions, config: PairConfig) -> ItemPairs:
    """The ``top`` partners of each item among the pairs whose score lies in (lower, upper]."""
    scores = transition_scores(interactions, config.window).tocoo()
    keep = (scores.data > config.lower) & (scores.data <= config.upper)
    a, b, score = scores.row[keep], scores.col[keep], scores.data[keep]
    order = np.lexsort((b, -score, a))
    a, b, score = a[order], b[order], score[order]
    rank = np.arange(len(a)) - np.searchsorted(a, a, side="left")
    best = rank < config.top
    return ItemPairs(a[best].astype(np.int32), b[best].astype(np.int32), score[best])
