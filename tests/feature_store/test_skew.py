"""A day of served requests, replayed: nothing differs, and what is planted is reported by name and cause."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from feature_store.definitions import Field
from feature_store.service import FeatureService
from feature_store.skew import Skew, served_rows
from feature_store.store import FeatureStore
from feature_store.transforms import OnDemandTransform, on_demand
from tests.feature_store.declared import at, item_rows, item_view, micros, pair_rows, pair_view

ITEMS, PAIRS = item_view(), pair_view()
NAMES = [f"i{number}" for number in range(12)]


def distance(clicks: np.ndarray, position: np.ndarray) -> np.ndarray:
    return clicks - position


def buggy_distance(clicks: np.ndarray, position: np.ndarray) -> np.ndarray:
    return np.where(clicks > 40, clicks, clicks - position)


def transform(function: Callable[..., np.ndarray]) -> OnDemandTransform:
    return on_demand(["item_stats__clicks", "position"], Field(name="distance", dtype="float64"))(function)


def service(function: Callable[..., np.ndarray] = distance) -> FeatureService:
    return FeatureService.of("feed", [ITEMS, PAIRS], [transform(function)])


def a_day(store: FeatureStore, served_by: FeatureService) -> pl.DataFrame:
    """Hourly pushes, some late, and requests between them; returns what was served."""
    chance = np.random.default_rng(3)
    store.apply([ITEMS, PAIRS])
    log = []
    for hour in range(24):
        moment = 3600 * hour
        rows = [
            (name, at(max(0, moment - int(late))), float(chance.random()), int(clicks), chance.random(3).tolist())
            for name, late, clicks in zip(NAMES, chance.integers(0, 9000, 12), chance.integers(0, 50, 12), strict=True)
            if chance.random() < 0.5
        ]
        if rows:
            store.push(ITEMS, item_rows(*rows), at(moment))
        store.push(PAIRS, pair_rows((7, NAMES[hour % 12], at(moment), float(chance.normal()))), at(moment))
        keys, request, now = (
            {"item_id": [*NAMES, "new"], "user_id": [7]},
            {"position": range(13)},
            micros(at(moment + 5)),
        )
        answer = store.get_online_features(served_by, keys, request, now)
        log.append(served_rows(served_by, keys, answer, now, request))
    return pl.concat(log)


def test_a_day_replays_without_a_difference(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    served = a_day(store, service())
    found = store.replay(served, service())
    assert sorted(skew.feature for skew in found) == sorted(service().features)
    assert [(skew.rows, skew.stale, skew.wrong, skew.example) for skew in found] == [(13 * 24, 0, 0, None)] * len(found)
    assert served["served__item_stats__clicks"].n_unique() > 20  # there was something to get wrong
    store.close()


def test_a_bug_in_a_transform_is_reported_by_name(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    served = a_day(store, service(buggy_distance))
    first, *others = store.replay(served, service())
    clicks, position = served["served__item_stats__clicks"], served["position"]
    assert (first.feature, first.stale, first.wrong) == ("distance", 0, int(((clicks > 40) & (position > 0)).sum()))
    assert first.wrong > 0
    assert first.example is not None
    assert first.example["served"] - first.example["replayed"] == first.example["position"]
    assert all(skew.wrong == skew.stale == 0 for skew in others)
    store.close()


def test_a_store_that_is_behind_is_told_from_a_wrong_value(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.apply(services=[service()])
    store.push(ITEMS, item_rows(("i0", at(0), 0.5, 1, None), ("i1", at(0), 0.5, 1, None)), at(0))
    store.write(ITEMS, item_rows(("i0", at(10), 0.5, 9, None)))  # known at 10, and not yet materialized
    keys, request, now = {"item_id": ["i0", "i1"], "user_id": [7]}, {"position": [1]}, micros(at(20))
    served = served_rows(service(), keys, store.get_online_features(service(), keys, request, now), now, request)
    found = {skew.feature: skew for skew in store.replay(served, service())}
    assert (found["item_stats__clicks"].stale, found["item_stats__clicks"].wrong) == (1, 0)
    assert (found["distance"].stale, found["distance"].wrong) == (1, 0)
    assert found["item_stats__ctr"] == Skew("item_stats__ctr", 2, 0, 0, None)
    store.close()
