"""Dense source: the items nearest to the user's recent items by their vectors, so that new items are found too."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from recsys.config import BaseConfig
from recsys.embeddings.table import EmbeddingTable
from recsys.index.base import VectorIndex
from recsys.retrieval.matrix import decayed_profiles
from recsys.retrieval.vectors import VectorSource
from recsys.types import FloatArray, Histories


class DenseConfig(BaseConfig):
    """How much of the history makes the user's vector."""

    last: int = Field(20, ge=1)  # newest engagements
    decay: float = Field(0.9, gt=0, le=1)  # per engagement further back


class DenseSource(VectorSource):
    """User = unit vector of the sum of weight * decay^age * vector over the last items.

    Args:
        items: vectors of the whole catalogue.
        index: built from that table.
        config: see :class:`DenseConfig`.
        name: of the source, e.g. ``dense-text``.
    """

    def __init__(self, items: EmbeddingTable, index: VectorIndex, config: DenseConfig, name: str = "dense") -> None:
        super().__init__(items, index, name)
        self.config = config

    @property
    def last(self) -> int:
        return self.config.last

    def user_vectors(self, histories: Histories) -> FloatArray:
        profiles = decayed_profiles(histories, len(self.items.ids), self.config.last, self.config.decay)
        used, place = np.unique(profiles.indices, return_inverse=True)  # few rows of a memory-mapped table
        profiles = type(profiles)((profiles.data, place, profiles.indptr), shape=(len(histories), len(used)))
        sums = np.asarray(profiles @ np.asarray(self.items.vectors[used]), dtype=np.float32)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        return np.asarray(sums / np.where(norms > 0, norms, 1), dtype=np.float32)[:, None]
