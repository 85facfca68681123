from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from feature_store.exceptions import DefinitionError, QuarantinedError
from feature_store.store import FeatureStore
from tests.feature_store.declared import at, item_rows, item_view, pair_view

VIEW = item_view(ttl=timedelta(seconds=100))


def test_freshness_tells_age_and_what_waits(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.apply([VIEW, pair_view()])
    rows = item_rows(("a", at(0), 0.5, 1, None), ("b", at(50), 0.5, 1, None))
    store.write(VIEW, rows)
    store.materialize(VIEW)
    store.write(VIEW, rows)
    with pytest.raises(QuarantinedError):
        store.write(VIEW, rows.with_columns(ctr=pl.lit(2.0)))
    items, pairs = sorted(store.freshness(at(150)), key=lambda one: one.rows, reverse=True)
    assert (items.view, items.rows, items.waiting_commits, items.waiting_rows) == ("item_stats@1", 4, 1, 2)
    assert (items.newest, items.age, items.quarantined) == (at(50), timedelta(seconds=100), 1)
    assert not items.expired
    assert store.freshness(at(151))[1].expired
    assert (pairs.view, pairs.newest, pairs.expired) == ("affinity@1", None, True)
    store.close()


def test_views_are_registered_before_they_are_written(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    with pytest.raises(DefinitionError, match="Apply it first"):
        store.write(VIEW, item_rows(("a", at(0), 0.5, 1, None)))
