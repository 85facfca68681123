"""Declarations and frames that the tests of the feature store share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from feature_store.definitions import Entity, FeatureView, Field

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ITEM = Entity(name="item", key="item_id")
USER = Entity(name="user", key="user_id", dtype="int64")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def micros(moment: datetime) -> int:
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))


def item_view(ttl: timedelta | None = 2 * DAY, version: int = 1, **changes: Any) -> FeatureView:
    fields = (
        Field(name="ctr", default=0.0, low=0.0, high=1.0),
        Field(name="clicks", dtype="int32", default=-1),
        Field(name="cover", dtype="float16", shape=(3,), default=0.0),
    )
    return FeatureView(name="item_stats", version=version, entities=(ITEM,), fields=fields, ttl=ttl, **changes)


def pair_view(ttl: timedelta | None = None) -> FeatureView:
    return FeatureView(name="affinity", entities=(USER, ITEM), fields=(Field(name="score", dtype="float64"),), ttl=ttl)


def item_rows(*rows: tuple[str, datetime, float | None, int | None, Sequence[float] | None]) -> pl.DataFrame:
    """Rows of the item view: item, event time, ctr, clicks, cover."""
    kinds = {"item_id": pl.String, "event_time": pl.Datetime("us", "UTC"), "ctr": pl.Float32, "clicks": pl.Int32}
    return pl.DataFrame(list(rows), schema={**kinds, "cover": pl.Array(pl.Float16, 3)}, orient="row")


def pair_rows(*rows: tuple[int, str, datetime, float]) -> pl.DataFrame:
    kinds = {"user_id": pl.Int64, "item_id": pl.String, "event_time": pl.Datetime("us", "UTC"), "score": pl.Float64}
    return pl.DataFrame(list(rows), schema=kinds, orient="row")
