"""VectorSource: base of sources that give a user vectors in the space of the items, and take what lies near them."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import ArtifactError
from recsys.index.base import VectorIndex
from recsys.index.selection import Selection
from recsys.retrieval.base import Neighbour, neighbours
from recsys.retrieval.matrix import user_blocks
from recsys.types import NO_ROW, Candidates, FloatArray, Histories, RowArray

USERS_PER_SEARCH = 256


class VectorSource(ABC):
    """Score = cosine of the item with the nearest of the user's vectors.

    Items without a vector (zeros) are never retrieved; a user without any gets nothing.

    Args:
        items: vectors of the whole catalogue.
        index: built from that table.
        name: of the source, e.g. ``dense-text``.

    Raises:
        ArtifactError: the index holds another number of vectors than the table.
    """

    knows_new_items = True

    def __init__(self, items: EmbeddingTable, index: VectorIndex, name: str) -> None:
        if len(index) != len(items.ids):
            raise ArtifactError(
                f"The index holds {len(index)} vectors, the table {len(items.ids)}.", "Build the index from this table."
            )
        self._name = name
        self.items = items
        self.index = index

    @property
    def name(self) -> str:
        return self._name

    @property
    @abstractmethod
    def last(self) -> int:
        """How many of the newest engagements make the vectors of a user."""

    @abstractmethod
    def user_vectors(self, histories: Histories) -> FloatArray:
        """Unit vectors of users, float32 ``[n, vectors a user, width]``; zeros for a user of whom nothing is known."""

    def retrieve(self, histories: Histories, k: int) -> Candidates:
        """See :class:`recsys.retrieval.base.CandidateSource`."""
        k = min(k, len(self.items.ids))
        rows = np.full((len(histories), k), NO_ROW, np.int32)
        scores = np.full((len(histories), k), -np.inf, np.float32)
        vectors = self.user_vectors(histories)
        known = np.flatnonzero(vectors.any(axis=(1, 2)))
        for start in range(0, len(known), USERS_PER_SEARCH):
            users = known[start : start + USERS_PER_SEARCH]
            seen = Selection(excluded=[histories[user] for user in users])
            found = [self.index.search(vectors[users, each], k, seen) for each in range(vectors.shape[1])]
            rows[users], scores[users] = found[0] if len(found) == 1 else _nearest_of(found, k)
        return Candidates(rows, scores, self.name)

    def score(self, histories: Histories, rows: RowArray) -> FloatArray:
        """See :class:`recsys.retrieval.base.CandidateSource`."""
        vectors = self.user_vectors(histories)
        scores = np.empty(rows.shape, np.float32)
        for block in user_blocks(len(histories), rows.shape[1] * self.items.width):
            items = np.asarray(self.items.vectors[np.maximum(rows[block], 0)])
            scores[block] = np.einsum("nid,nmd->nim", vectors[block], items).max(axis=1)
        scores[rows == NO_ROW] = 0
        return scores

    def evidence(self, history: Histories, row: int) -> list[Neighbour]:
        """See :class:`recsys.retrieval.base.CandidateSource`: the nearest of the items that made the user's vectors."""
        recent = history[0][::-1][: self.last]
        return neighbours(recent, self.items.vectors[recent] @ self.items.vectors[row])


def _nearest_of(found: list[tuple[RowArray, FloatArray]], k: int) -> tuple[RowArray, FloatArray]:
    """The k best of several lists for the same users, an item once, with its best score; ties go to the lower row."""
    all_rows = np.concatenate([rows for rows, _ in found], axis=1)
    all_scores = np.concatenate([scores for _, scores in found], axis=1)
    order = np.lexsort((-all_scores, all_rows), axis=1)
    rows, scores = (np.take_along_axis(values, order, axis=1) for values in (all_rows, all_scores))
    scores[:, 1:][rows[:, 1:] == rows[:, :-1]] = -np.inf  # the same item again, farther away
    best = np.lexsort((rows, -scores), axis=1)[:, :k]
    rows, scores = (np.take_along_axis(values, best, axis=1) for values in (rows, scores))
    return np.where(np.isneginf(scores), NO_ROW, rows).astype(np.int32), scores
