"""Dense source: the items nearest to the user's recent items by their vectors, so that new items are found too."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field

from recsys.config import BaseConfig
from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import ArtifactError
from recsys.index.base import VectorIndex
from recsys.retrieval.matrix import decayed_profiles, user_blocks
from recsys.types import NO_ROW, Candidates, FloatArray, Histories, RowArray

USERS_PER_SEARCH = 256


class DenseConfig(BaseConfig):
    """How much of the history makes the user's vector."""

    last: int = Field(20, ge=1)  # newest engagements
    decay: float = Field(0.9, gt=0, le=1)  # per engagement further back


class DenseSource:
    """User = unit vector of the sum of weight * decay^age * vector over the last items; score = cosine with the item.

    Items without a vector (zeros) are never retrieved; a user without any gets nothing.

    Args:
        table: vectors of the whole catalogue.
        index: built from that table.
        config: see :class:`DenseConfig`.
        name: of the source, e.g. ``dense-text``.

    Raises:
        ArtifactError: the index holds another number of vectors than the table.
    """

    def __init__(self, table: EmbeddingTable, index: VectorIndex, config: DenseConfig, name: str = "dense") -> None:
        if len(index) != len(table.ids):
            raise ArtifactError(
                f"The index holds {len(index)} vectors, the table {len(table.ids)}.", "Build the index from this table."
            )
        self._name = name
        self.table = table
        self.index = index
        self.config = config

    @property
    def name(self) -> str:
        return self._name

    def user_vectors(self, histories: Histories) -> FloatArray:
        """Unit vectors of users, float32 ``[n, width]``; zeros for a user without any item that has a vector."""
        profiles = decayed_profiles(histories, len(self.table.ids), self.config.last, self.config.decay)
        used, place = np.unique(profiles.indices, return_inverse=True)  # few rows of a memory-mapped table
        profiles = type(profiles)((profiles.data, place, profiles.indptr), shape=(len(histories), len(used)))
        sums = np.asarray(profiles @ np.asarray(self.table.vectors[used]), dtype=np.float32)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        return np.asarray(sums / np.where(norms > 0, norms, 1), dtype=np.float32)

    def retrieve(self, histories: Histories, k: int) -> Candidates:
        """See :class:`recsys.retrieval.base.CandidateSource`."""
        n_items = len(self.table.ids)
        k = min(k, n_items)
        rows = np.full((len(histories), k), NO_ROW, np.int32)
        scores = np.full((len(histories), k), -np.inf, np.float32)
        by_length = np.argsort(
            histories.lengths, kind="stable"
        )  # long histories need deep searches: keep them together
        vectors = self.user_vectors(histories)
        for start in range(0, len(histories), USERS_PER_SEARCH):
            users = by_length[start : start + USERS_PER_SEARCH]
            users = users[vectors[users].any(axis=1)]
            if len(users):
                depth = min(k + int(histories.lengths[users].max()), n_items)
                found, products = self.index.search(vectors[users], depth)
                rows[users], scores[users] = _unseen(found, products, users, histories, n_items, k)
        return Candidates(rows, scores, self.name)

    def score(self, histories: Histories, rows: RowArray) -> FloatArray:
        """See :class:`recsys.retrieval.base.CandidateSource`."""
        vectors = self.user_vectors(histories)
        scores = np.empty(rows.shape, np.float32)
        for block in user_blocks(len(histories), rows.shape[1] * self.table.width):
            items = np.asarray(self.table.vectors[np.maximum(rows[block], 0)])
            scores[block] = np.einsum("nd,nmd->nm", vectors[block], items)
        scores[rows == NO_ROW] = 0
        return scores


def _unseen(
    found: RowArray, products: FloatArray, users: npt.NDArray[np.int64], histories: Histories, n_items: int, k: int
) -> tuple[RowArray, FloatArray]:
    """The first k of each row of ``found`` that the user has not engaged with, order kept."""
    seen = np.zeros((len(users), n_items + 1), np.bool_)
    seen[:, NO_ROW] = True  # the padding, in the last column
    for place, user in enumerate(users):
        seen[place, histories[user]] = True
    out = np.take_along_axis(seen, found.astype(np.int64) % (n_items + 1), axis=1)
    first = np.argsort(out, axis=1, kind="stable")[:, :k]
    gone = np.take_along_axis(out, first, axis=1)
    rows = np.where(gone, NO_ROW, np.take_along_axis(found, first, axis=1)).astype(np.int32)
    return rows, np.where(gone, -np.inf, np.take_along_axis(products, first, axis=1)).astype(np.float32)
