"""CandidateSource: finds candidates for many users at once, scores any (user, item) pair, and says what led there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from recsys.types import NO_ROW, Candidates, FloatArray, Histories, RowArray


@dataclass(frozen=True)
class Neighbour:
    """One of a user's recent items that speaks for, or against, another item.

    Attributes:
        row: of the recent item.
        age: engagements since then, 0 = the newest.
        similarity: of the two items, as the source measures it.
        contribution: its part in the score, which is the sum over the neighbours; ``None`` where it is no such sum.
    """

    row: int
    age: int
    similarity: float
    contribution: float | None


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

    def evidence(self, history: Histories, row: int) -> list[Neighbour]:
        """From which of one user's recent items the source reaches an item, the strongest first.

        Empty where nothing the user did leads there, also where a source does not look at what a user did.

        Args:
            history: of one user.
            row: of the item.
        """
        ...


def neighbours(rows: RowArray, similarity: FloatArray, contribution: FloatArray | None = None) -> list[Neighbour]:
    """What speaks for an item, the greatest contribution first, or else the greatest similarity.

    Args:
        rows: of the user's recent items, newest first, ``[t]``.
        similarity: with the item, ``[t]``; 0 leaves a recent item out.
        contribution: to the score, ``[t]``.
    """
    strength = similarity if contribution is None else contribution
    return [
        Neighbour(
            int(rows[age]),
            int(age),
            float(similarity[age]),
            None if contribution is None else float(contribution[age]),
        )
        for age in np.argsort(-strength, kind="stable")
        if similarity[age] != 0
    ]


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
