"""MatrixSource: base of sources that score the whole catalogue for a block of users; the rest follows from that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
from scipy import sparse

from recsys.retrieval.base import Neighbour, top_unseen
from recsys.types import NO_ROW, Candidates, FloatArray, Histories, RowArray

CELLS_PER_BLOCK = 2**23  # 32 MiB of scores


class MatrixSource(ABC):
    """Base of sources that score every item of every user, a block of users at a time.

    A score of exactly 0 means "no evidence": such an item is never retrieved.

    Args:
        name: of the source, as it stands in reports and feature names.
        n_items: size of the catalogue.
    """

    knows_new_items = False

    def __init__(self, name: str, n_items: int) -> None:
        self._name = name
        self.n_items = n_items

    @property
    def name(self) -> str:
        return self._name

    @abstractmethod
    def score_all(self, histories: Histories) -> FloatArray:
        """Scores of the whole catalogue, a new float32 ``[n, items]`` that the caller may modify."""

    def retrieve(self, histories: Histories, k: int) -> Candidates:
        """See :class:`recsys.retrieval.base.CandidateSource`."""
        k = min(k, self.n_items)
        rows = np.full((len(histories), k), NO_ROW, np.int32)
        scores = np.full((len(histories), k), -np.inf, np.float32)
        for block in user_blocks(len(histories), self.n_items):
            users = histories.slice(block.start, block.stop)
            matrix = self.score_all(users)
            matrix[matrix == 0] = -np.inf
            found = top_unseen(matrix, users, k, self.name)
            rows[block], scores[block] = found.rows, found.scores
        return Candidates(rows, scores, self.name)

    def score(self, histories: Histories, rows: RowArray) -> FloatArray:
        """See :class:`recsys.retrieval.base.CandidateSource`."""
        scores = np.zeros(rows.shape, np.float32)
        for block in user_blocks(len(histories), self.n_items):
            matrix = self.score_all(histories.slice(block.start, block.stop))
            scores[block] = np.take_along_axis(matrix, np.maximum(rows[block], 0), axis=1)
        scores[rows == NO_ROW] = 0
        return scores

    def evidence(self, history: Histories, row: int) -> list[Neighbour]:
        """See :class:`recsys.retrieval.base.CandidateSource`; this source does not look at what a user did."""
        return []


def user_blocks(n_users: int, n_items: int) -> Iterator[slice]:
    """Consecutive slices of users whose score matrices have at most :data:`CELLS_PER_BLOCK` cells."""
    size = max(1, CELLS_PER_BLOCK // max(n_items, 1))
    for start in range(0, n_users, size):
        yield slice(start, min(start + size, n_users))


def decayed_profiles(histories: Histories, n_items: int, last: int, decay: float) -> sparse.csr_array:
    """One row per user over the items: weight * decay^age of the ``last`` engagements, age 0 = the newest.

    Returns:
        float32 ``[n, items]``.
    """
    rows, strength = decayed_recent(histories, last, decay)
    user, age = np.nonzero(rows != NO_ROW)
    cells = (strength[user, age], (user, rows[user, age]))
    return sparse.csr_array(cells, shape=(len(histories), n_items), dtype=np.float32)


def decayed_recent(histories: Histories, last: int, decay: float) -> tuple[RowArray, FloatArray]:
    """The ``last`` engagements, newest first, and weight * decay^age of each: ``[n, last]``, padded (``NO_ROW``, 0)."""
    rows, weights = histories.recent(last)
    return rows, weights * (decay ** np.arange(last)).astype(np.float32)
