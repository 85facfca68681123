"""CandidateSource: finds candidates for many users at once, and scores any (user, item) pair asked of it."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from recsys.types import NO_ROW, Candidates, FloatArray, Histories, RowArray


class CandidateSource(Protocol):
    """One way of finding items for a user from what the user did before.

    ``retrieve`` never returns an item of the user's own history. ``score`` agrees with ``retrieve``: it gives a
    retrieved item the score it was retrieved with, so a ranker can ask each source about candidates of another.
    """

    @property
    def name(self) -> str: ...

    @property
    def knows_new_items(self) -> bool:
        """Whether it can find an item that nobody has engaged with."""
        ...

    def retrieve(self, histories: Histories, k: int) -> Candidates:
        """The k best unseen items of each user."""
        ...

    def score(self, histories: Histories, rows: RowArray) -> FloatArray:
        """Scores of the given items, float32 ``[n, m]`` for rows ``[n, m]``; 0 where padded or without evidence."""
        ...


def top_unseen(scores: FloatArray, histories: Histories, k: int, source: str) -> Candidates:
    """The k best items by a dense score matrix, the user's own history left out. Ties go to the lower row.

    Args:
        scores: float32 ``[n, items]``; **modified**: the seen items are set to ``-inf``.
        histories: of the n users.
        k: number of candidates.
        source: name for the result.
    """
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    scores[users, histories.items] = -np.inf
    k = min(k, scores.shape[1])
    part = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    values = np.take_along_axis(scores, part, axis=1)
    order = np.lexsort((part, -values), axis=1)
    rows = np.take_along_axis(part, order, axis=1).astype(np.int32)
    values = np.take_along_axis(values, order, axis=1)
    return Candidates(np.where(np.isneginf(values), NO_ROW, rows), values, source)
