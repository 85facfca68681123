"""Fresh source: items published lately that few have seen, in the order of the user's taste."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from recsys import schemas
from recsys.config import BaseConfig
from recsys.data.interactions import Interactions
from recsys.retrieval.base import Neighbour
from recsys.retrieval.dense import DenseSource
from recsys.retrieval.matrix import MatrixSource
from recsys.retrieval.popularity import MILLISECONDS_PER_DAY
from recsys.types import FloatArray, Histories, RowArray

FRESH = "fresh"


class FreshConfig(BaseConfig):
    """Which items are fresh."""

    window_days: float = Field(7.0, gt=0)  # published since so long before the newest event
    max_shown: int = Field(50, ge=0)  # impressions so far, or users who engaged where no impressions are logged


class FreshSource(MatrixSource):
    """Score = cosine of a fresh item with the vector of the user's recent items.

    A user without such a vector gets the newest items first: 1 for one published with the newest event, half as much
    at the beginning of the window. Items that others find by what was done with them need no help, so those that were
    shown more often than ``max_shown`` are left out; and so are all where the catalogue does not say when it was made.

    Args:
        events: what was logged until now.
        interactions: the engagements among them, and the catalogue's map.
        items: the catalogue, in row order.
        taste: makes the vectors of users, and compares them with items.
        config: see :class:`FreshConfig`.
        name: of the source.
    """

    knows_new_items = True

    def __init__(
        self,
        events: pl.DataFrame,
        interactions: Interactions,
        items: pl.DataFrame,
        taste: DenseSource,
        config: FreshConfig,
        name: str = FRESH,
    ) -> None:
        super().__init__(name, len(items))
        created = items[schemas.CREATED_AT].dt.epoch("ms").cast(pl.Float64).fill_null(float("nan")).to_numpy()
        newest = events[schemas.TIMESTAMP].drop_nulls().dt.epoch("ms").to_numpy()
        now = newest.max() if len(newest) else np.fmax.reduce(created, initial=-np.inf)
        age_days = (now - created) / MILLISECONDS_PER_DAY
        fresh = (age_days <= config.window_days) & (shown(events, interactions) <= config.max_shown)
        self.rows: RowArray = np.flatnonzero(fresh).astype(np.int32)
        self.recency: FloatArray = (0.5 ** (age_days[self.rows] / config.window_days)).astype(np.float32)
        self.taste = taste
        self._vectors: FloatArray = np.asarray(taste.items.vectors[self.rows])

    def score_all(self, histories: Histories) -> FloatArray:
        scores = np.zeros((len(histories), self.n_items), np.float32)
        users = self.taste.user_vectors(histories)[:, 0]
        scores[:, self.rows] = np.where(users.any(axis=1, keepdims=True), users @ self._vectors.T, self.recency)
        return scores

    def evidence(self, history: Histories, row: int) -> list[Neighbour]:
        return self.taste.evidence(history, row) if row in self.rows else []


def shown(events: pl.DataFrame, interactions: Interactions) -> npt.NDArray[np.int64]:
    """Impressions per item row; the users who engaged with it where no impression was logged."""
    impressions = events.filter(pl.col(schemas.EVENT_TYPE) == schemas.IMPRESSION)[schemas.ITEM_ID]
    if impressions.is_empty():
        return interactions.item_counts()
    counts = impressions.value_counts()
    rows = interactions.items_map.rows(counts[schemas.ITEM_ID])
    known = rows >= 0
    return np.bincount(rows[known], counts["count"].to_numpy()[known], len(interactions.items_map)).astype(np.int64)
