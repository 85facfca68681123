from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from recsys import schemas
from recsys.data.interactions import Interactions
from recsys.embeddings.table import EmbeddingTable
from recsys.index.exact import ExactIndex
from recsys.retrieval.dense import DenseConfig, DenseSource
from recsys.retrieval.fresh import FreshConfig, FreshSource
from recsys.types import NO_ROW, Histories, IdMap

NOW = datetime(2025, 3, 31, tzinfo=UTC)
IDS = IdMap.of("abcdef")
AGES = [30.0, 6.0, 2.0, 0.0, -1.0, None]  # days before NOW; e is published after it, nobody knows when f was
VECTORS = np.array([[1, 0], [0.6, 0.8], [0.8, -0.6], [0, 1], [0.6, -0.8], [1, 0]], np.float32)


def items(ages: list[float | None] = AGES) -> pl.DataFrame:
    created = [None if age is None else NOW - timedelta(days=age) for age in ages]
    return pl.DataFrame({schemas.CREATED_AT: pl.Series(created, dtype=pl.Datetime("ms", "UTC"))})


def events(*rows: tuple[str, str, str, float]) -> pl.DataFrame:
    """User, item, what, and how many days before NOW."""
    columns = [schemas.USER_ID, schemas.ITEM_ID, schemas.EVENT_TYPE, schemas.TIMESTAMP]
    moments = [(user, item, kind, NOW - timedelta(days=age)) for user, item, kind, age in rows]
    made = pl.DataFrame(moments, schema=columns, orient="row")
    nothing = pl.DataFrame(pl.from_arrow(schemas.EVENTS.empty_table()))
    return pl.concat([nothing, made.cast({schemas.TIMESTAMP: nothing.schema[schemas.TIMESTAMP]})], how="diagonal")


def fresh(log: pl.DataFrame, config: FreshConfig, catalogue: pl.DataFrame | None = None) -> FreshSource:
    table = EmbeddingTable(IDS, VECTORS, "tower")
    taste = DenseSource(table, ExactIndex(table), DenseConfig(last=1))
    return FreshSource(log, Interactions.of(log, IDS), items() if catalogue is None else catalogue, taste, config)


CLICKED = events(
    ("u", "a", "click", 1), ("u", "a", "impression", 1), ("v", "c", "impression", 3), ("w", "c", "impression", 0)
)


def test_only_what_is_new_and_hardly_seen_is_proposed() -> None:
    assert fresh(CLICKED, FreshConfig(window_days=7)).rows.tolist() == [1, 2, 3, 4]
    assert fresh(CLICKED, FreshConfig(window_days=5)).rows.tolist() == [2, 3, 4]
    assert fresh(CLICKED, FreshConfig(window_days=7, max_shown=2)).rows.tolist() == [1, 2, 3, 4]
    assert fresh(CLICKED, FreshConfig(window_days=7, max_shown=1)).rows.tolist() == [1, 3, 4]  # c was shown twice


def test_engagements_count_where_no_impression_is_logged() -> None:
    clicks = events(("u", "b", "click", 1), ("u", "b", "like", 1), ("v", "b", "click", 0), ("v", "d", "click", 0))
    assert fresh(clicks, FreshConfig(max_shown=1)).rows.tolist() == [2, 3, 4]
    assert fresh(clicks, FreshConfig(max_shown=0)).rows.tolist() == [2, 4]


def test_a_user_with_a_taste_gets_what_is_near_to_it() -> None:
    source = fresh(CLICKED, FreshConfig(window_days=7))
    found = source.retrieve(Histories.of([[3, 0], [0, 2]]), 6)
    assert found.rows.tolist() == [[2, 1, 4, NO_ROW, NO_ROW, NO_ROW], [4, 1, 3, NO_ROW, NO_ROW, NO_ROW]]
    np.testing.assert_allclose(found.scores[0, :3], [0.8, 0.6, 0.6], rtol=1e-6)  # b before e: the lower row
    np.testing.assert_allclose(found.scores[1, :3], [0.96, 0, -0.6], atol=1e-6)


def test_a_stranger_gets_the_newest_first() -> None:
    found = fresh(CLICKED, FreshConfig(window_days=7)).retrieve(Histories.of([[]]), 6)
    assert found.rows.tolist() == [[4, 3, 2, 1, NO_ROW, NO_ROW]]
    np.testing.assert_allclose(found.scores[0, :4], [2 ** (1 / 7), 1, 0.5 ** (2 / 7), 0.5 ** (6 / 7)], rtol=1e-6)


def test_evidence_is_that_of_the_taste_and_only_of_what_is_fresh() -> None:
    source = fresh(CLICKED, FreshConfig(window_days=7))
    [neighbour] = source.evidence(Histories.of([[3, 0]]), 2)
    assert (neighbour.row, neighbour.age, neighbour.contribution) == (0, 0, None)
    assert neighbour.similarity == pytest.approx(0.8)
    assert source.evidence(Histories.of([[3, 0]]), 5) == []


def test_without_moments_of_events_the_newest_item_says_what_is_new() -> None:
    nothing = events()
    assert fresh(nothing, FreshConfig(window_days=3.5)).rows.tolist() == [2, 3, 4]
    assert fresh(nothing, FreshConfig(), items([None] * 6)).rows.tolist() == []
    assert (fresh(nothing, FreshConfig(), items([None] * 6)).retrieve(Histories.of([[0]]), 2).rows == NO_ROW).all()
