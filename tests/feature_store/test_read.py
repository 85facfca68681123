from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from feature_store.definitions import Field
from feature_store.exceptions import RequestError
from feature_store.service import FeatureService
from feature_store.store import FeatureStore
from feature_store.transforms import on_demand
from tests.feature_store.declared import at, item_rows, item_view, micros, pair_rows, pair_view

ITEMS, PAIRS = item_view(), pair_view()


@on_demand(["item_stats__ctr", "position", "request_time", "item_stats__row_age"], Field(name="mixed", dtype="float64"))
def mixed(ctr: np.ndarray, position: np.ndarray, request_time: np.ndarray, age: np.ndarray) -> np.ndarray:
    return ctr * 100 + position + np.where(np.isnan(age), 1000, age) + (request_time % 10)


SERVICE = FeatureService.of("feed", [ITEMS, PAIRS], [mixed], ["mixed", "affinity__score", "item_stats__cover"])
NOW = micros(at(10))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    opened = FeatureStore(tmp_path)
    opened.apply(services=[SERVICE])
    opened.push(ITEMS, item_rows(("a", at(1), 0.5, 1, [1, 2, 3]), ("b", at(5), 0.25, 2, None)), at(9))
    opened.push(PAIRS, pair_rows((7, "a", at(2), 0.75)), at(9))
    yield opened
    opened.close()


def test_values_come_in_the_order_of_service_and_keys(store: FeatureStore) -> None:
    answer = store.get_online_features(
        SERVICE, {"item_id": ["b", "a", "c"], "user_id": [7]}, {"position": [0, 1, 2]}, NOW
    )
    assert list(answer.values) == ["mixed", "affinity__score", "item_stats__cover"]
    assert answer.values["mixed"].tolist() == [25 + 0 + 5, 50 + 1 + 9, 0 + 2 + 1000]
    np.testing.assert_array_equal(answer.values["affinity__score"], [np.nan, 0.75, np.nan])
    assert answer.values["item_stats__cover"].tolist() == [[0, 0, 0], [1, 2, 3], [0, 0, 0]]
    assert answer.present["item_stats"].tolist() == [True, True, False]
    np.testing.assert_array_equal(answer.age["item_stats"], [5, 9, np.nan])
    assert answer.event_time["affinity"].tolist() == [-1, micros(at(2)), -1]
    assert answer.matrix().shape == (3, 5)
    assert answer.matrix()[1].tolist() == [60, 0.75, 1, 2, 3]


def test_the_ttl_ends_after_its_last_instant(store: FeatureStore) -> None:
    last = micros(at(1)) + ITEMS.ttl_us  # type: ignore[operator]
    for now, present in ((last, True), (last + 1, False)):
        answer = store.get_online_features(SERVICE, {"item_id": ["a"], "user_id": [7]}, {"position": [0]}, now)
        assert answer.present["item_stats"].tolist() == [present]
        assert answer.values["item_stats__cover"].tolist() == [[1, 2, 3] if present else [0, 0, 0]]
        assert answer.present["affinity"].tolist() == [True]  # has no TTL


def test_one_key_for_all_and_arrays_for_lists(store: FeatureStore) -> None:
    answer = store.get_online_features(
        SERVICE, {"item_id": np.array(["a"]), "user_id": np.array([7, 8])}, {"position": np.zeros(2)}, NOW
    )
    np.testing.assert_array_equal(answer.values["affinity__score"], [0.75, np.nan])
    assert answer.values["item_stats__cover"].tolist() == [[1, 2, 3]] * 2


def test_nobody_has_no_features(store: FeatureStore) -> None:
    answer = store.get_online_features(SERVICE, {"item_id": ["a", None], "user_id": [None]}, {"position": [0]}, NOW)
    assert answer.present["item_stats"].tolist() == [True, False]
    assert not answer.present["affinity"].any()


def test_what_is_missing_or_does_not_fit_is_named(store: FeatureStore) -> None:
    with pytest.raises(RequestError, match="keyed by user_id"):
        store.get_online_features(SERVICE, {"item_id": ["a"]}, {"position": [0]})
    with pytest.raises(RequestError, match="mixed needs position"):
        store.get_online_features(SERVICE, {"item_id": ["a"], "user_id": [7]})
    with pytest.raises(RequestError, match="length 2 beside others of 3"):
        store.get_online_features(SERVICE, {"item_id": ["a"] * 3, "user_id": [7, 8]}, {"position": [0]})
