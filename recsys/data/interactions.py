"""Positive interactions as arrays: who engaged with what, when and how strongly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys import schemas
from recsys.types import FloatArray, Histories, IdMap, RowArray


@dataclass(frozen=True, eq=False)
class Interactions:
    """Positive (user, item) pairs sorted by user, then time; each pair once, at its first moment.

    Attributes:
        items_map: the catalogue the item rows belong to.
        users_map: the users the user rows belong to.
        users: user rows, int32 ``[total]``, ascending.
        items: item rows, int32 ``[total]``.
        times: int64 ``[total]``, milliseconds since 1970, or the per-user ``order`` where there are no timestamps.
        weights: the strongest action's weight (:data:`recsys.schemas.ACTION_WEIGHTS`), float32 ``[total]``.
    """

    items_map: IdMap
    users_map: IdMap
    users: RowArray
    items: RowArray
    times: npt.NDArray[np.int64]
    weights: FloatArray

    @classmethod
    def of(cls, events: pl.DataFrame, items_map: IdMap, users_map: IdMap | None = None) -> Interactions:
        """From events (any types; only positive actions count).

        Args:
            events: rows of :data:`recsys.schemas.EVENTS`.
            items_map: catalogue; events of other items are ignored.
            users_map: users to keep; default: all users of the events, sorted.
        """
        pairs = (
            events.lazy()
            .filter(pl.col(schemas.EVENT_TYPE).is_in(list(schemas.ACTION_WEIGHTS)))
            .select(
                schemas.USER_ID,
                schemas.ITEM_ID,
                time=pl.coalesce(pl.col(schemas.TIMESTAMP).dt.epoch("ms"), pl.col(schemas.ORDER)),
                weight=pl.col(schemas.EVENT_TYPE).replace_strict(schemas.ACTION_WEIGHTS, return_dtype=pl.Float32),
            )
            .group_by(schemas.USER_ID, schemas.ITEM_ID)
            .agg(pl.col("time").min(), pl.col("weight").max())
            .collect()
        )
        if users_map is None:
            users_map = IdMap.of(pairs[schemas.USER_ID].unique().sort())
        users = users_map.rows(pairs[schemas.USER_ID])
        items = items_map.rows(pairs[schemas.ITEM_ID])
        times = pairs["time"].to_numpy().astype(np.int64)
        known = (users >= 0) & (items >= 0)
        order = np.lexsort((items, times, users))
        order = order[known[order]]
        weights = pairs["weight"].to_numpy()
        return cls(items_map, users_map, users[order], items[order], times[order], weights[order])

    def __len__(self) -> int:
        return len(self.items)

    def where(self, keep: npt.NDArray[np.bool_]) -> Interactions:
        return Interactions(
            self.items_map, self.users_map, self.users[keep], self.items[keep], self.times[keep], self.weights[keep]
        )

    def histories(self) -> Histories:
        """One history per user of ``users_map``, empty where the user did nothing."""
        counts = np.bincount(self.users, minlength=len(self.users_map))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Histories(offsets, self.items, self.weights, np.arange(len(counts), dtype=np.int32))

    def histories_before(self, users: RowArray, times: npt.NDArray[np.int64], last: int) -> Histories:
        """What each requesting user did strictly before each request, at most the ``last`` engagements.

        Args:
            users: user row per request, ``[n]``.
            times: moment of each request, ``[n]``.
            last: longest history.
        """
        starts = np.searchsorted(self.users, users, side="left")
        ends = np.searchsorted(self.users, users, side="right")
        stops = np.empty(len(users), np.int64)
        for request, (start, end, time) in enumerate(zip(starts, ends, times, strict=True)):
            stops[request] = start + np.searchsorted(self.times[start:end], time, side="left")
        begins = np.maximum(starts, stops - last)
        lengths = stops - begins
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        index = np.repeat(begins - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Histories(offsets, self.items[index], self.weights[index], users)

    def item_counts(self) -> npt.NDArray[np.int64]:
        """Number of users per item row."""
        return np.bincount(self.items, minlength=len(self.items_map))
