"""Item-to-item source: neighbours of what the user engaged with last, by co-occurrence or by what followed what."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from scipy import sparse

from recsys.config import BaseConfig
from recsys.data.interactions import Interactions
from recsys.data.pairs import transitions
from recsys.retrieval.base import Neighbour, neighbours
from recsys.retrieval.matrix import MatrixSource, decayed_profiles, decayed_recent
from recsys.types import NO_ROW, FloatArray, Histories


class ItemToItemConfig(BaseConfig):
    """How items become neighbours, and how much of the history asks for neighbours."""

    similarity: Literal["cosine", "transition"] = "transition"
    last: int = Field(10, ge=1)  # newest engagements whose neighbours count
    decay: float = Field(0.8, gt=0, le=1)  # per engagement further back
    neighbours: int = Field(500, ge=1)  # kept per item
    window: int = Field(10, ge=1)  # transition: B is among the next `window` engagements after A
    window_decay: float = Field(0.85, gt=0, le=1)  # transition: per step between A and B
    from_norm: float = Field(0.5, ge=0, le=1)  # transition: divide by count(A) ** from_norm
    to_norm: float = Field(0.3, ge=0, le=1)  # transition: divide by count(B) ** to_norm; 0 favours popular items


class ItemToItemSource(MatrixSource):
    """Sum over the user's last items A of weight * decay^age * similarity(A, B).

    ``cosine`` is symmetric: users of both / sqrt(users of A * users of B). ``transition`` is directional and knows that
    a sequel follows its first part: sum over users of window_decay^(steps - 1) where B came after A.

    Args:
        interactions: what to count.
        config: see :class:`ItemToItemConfig`.
        name: of the source.
    """

    def __init__(self, interactions: Interactions, config: ItemToItemConfig, name: str = "item-to-item") -> None:
        super().__init__(name, len(interactions.items_map))
        if config.similarity == "cosine":
            similarity = cosine(interactions)
        else:
            similarity = transitions(interactions, config.window, config.window_decay)
            counts = np.maximum(interactions.item_counts(), 1).astype(np.float32)
            similarity = _scaled(similarity, counts**-config.from_norm, counts**-config.to_norm)
        self.similarity = _top_of_each_row(similarity, config.neighbours)
        self.config = config

    def score_all(self, histories: Histories) -> FloatArray:
        profiles = decayed_profiles(histories, self.n_items, self.config.last, self.config.decay)
        return np.asarray((profiles @ self.similarity).toarray(), dtype=np.float32)

    def evidence(self, history: Histories, row: int) -> list[Neighbour]:
        rows, strength = (values[0] for values in decayed_recent(history, self.config.last, self.config.decay))
        similarity = np.where(rows == NO_ROW, 0, self.similarity[:, [row]].toarray()[rows, 0])
        return neighbours(rows, similarity, strength * similarity)


def cosine(interactions: Interactions) -> sparse.csr_array:
    """Co-occurrence cosine of every two different items, float32 ``[items, items]``."""
    shape = (len(interactions.users_map), len(interactions.items_map))
    lengths = np.sqrt(np.maximum(interactions.item_counts(), 1)).astype(np.float32)
    seen = sparse.csr_array((1 / lengths[interactions.items], (interactions.users, interactions.items)), shape=shape)
    together = sparse.csr_array(seen.T @ seen)
    together.setdiag(0)
    together.eliminate_zeros()
    return together


def _scaled(matrix: sparse.csr_array, of_rows: FloatArray, of_columns: FloatArray) -> sparse.csr_array:
    return sparse.csr_array(sparse.diags_array(of_rows) @ matrix @ sparse.diags_array(of_columns))


def _top_of_each_row(matrix: sparse.csr_array, count: int) -> sparse.csr_array:
    """The ``count`` largest values of each row; ties go to the lower column."""
    matrix.sort_indices()
    kept = [
        start + np.sort(np.argsort(-matrix.data[start:stop], kind="stable")[:count])
        for start, stop in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)
    ]
    cells = np.concatenate(kept)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in kept])])
    return sparse.csr_array((matrix.data[cells], matrix.indices[cells], offsets), shape=matrix.shape)
