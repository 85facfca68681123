"""One contract for every online store: the same known answers whichever holds the records."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from feature_store.definitions import FeatureView
from feature_store.exceptions import StoreError
from feature_store.online.base import OnlineStore
from feature_store.online.embedded import LmdbStore
from feature_store.online.remote import RedisStore
from feature_store.online.snapshot import SnapshotStore
from feature_store.records import absent, pack
from tests.feature_store.declared import at, item_rows, item_view, pair_rows, pair_view

Open = Callable[[], OnlineStore]
KINDS = ("lmdb", "snapshot", "redis")
VIEW = item_view()


@pytest.fixture(params=KINDS)
def reopened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same store, again and again."""
    prefix = uuid.uuid4().hex
    opened: list[OnlineStore] = []

    def reopen() -> OnlineStore:
        for store in opened:
            store.close()
        if request.param == "redis":
            opened.append(RedisStore(request.getfixturevalue("redis_url"), prefix))
        else:
            opened.append({"lmdb": LmdbStore, "snapshot": SnapshotStore}[request.param](tmp_path / "online"))
        return opened[-1]

    yield reopen
    for store in opened:
        store.close()


def put(store: OnlineStore, view: FeatureView, *rows: tuple) -> int:
    make = item_rows if view.name == "item_stats" else pair_rows
    frame = make(*rows)
    return store.put_many(view, *pack(view, frame.with_columns(created_time="event_time")))


def test_reads_in_the_order_of_the_keys_and_defaults_where_there_is_nothing(reopened: Open) -> None:
    store = reopened()
    put(store, VIEW, ("b", at(5), 0.5, 7, [1, 2, 3]), ("a", at(9), None, None, None), ("词", at(1), 1.0, 1, [4, 5, 6]))
    found = store.get_many(VIEW, [b"b", b"missing", "词".encode(), b"a", b"b"])
    assert found["ctr"].tolist() == [0.5, 0, 1, 0, 0.5]
    assert found["clicks"].tolist() == [7, -1, 1, -1, 7]
    assert found["cover"].tolist() == [[1, 2, 3], [0, 0, 0], [4, 5, 6], [0, 0, 0], [1, 2, 3]]
    assert found[1:2] == absent(VIEW)
    assert found["cover"].dtype == np.float16


def test_what_was_put_is_there_when_it_is_opened_again(reopened: Open) -> None:
    put(reopened(), VIEW, ("a", at(5), 0.5, 7, [1, 2, 3]))
    store = reopened()
    assert store.get_many(VIEW, [b"a"])["clicks"].tolist() == [7]
    store.settle(VIEW)
    put(store, VIEW, ("b", at(5), 0.5, 8, [1, 2, 3]))
    assert reopened().get_many(VIEW, [b"a", b"b"])["clicks"].tolist() == [7, 8]


@pytest.mark.parametrize("settled", [False, True])
def test_the_latest_event_wins_and_of_equals_the_last_written(reopened: Open, settled: bool) -> None:
    store = reopened()
    put(store, VIEW, ("late", at(10), 0.1, 1, None), ("tie", at(10), 0.1, 1, None), ("new", at(10), 0.1, 1, None))
    if settled:
        store.settle(VIEW)
    put(store, VIEW, ("late", at(9), 0.9, 2, None), ("tie", at(10), 0.9, 2, None), ("new", at(11), 0.9, 2, None))
    keys = [b"late", b"tie", b"new"]
    assert store.get_many(VIEW, keys)["clicks"].tolist() == [1, 2, 2]
    store.settle(VIEW)
    assert store.get_many(VIEW, keys)["clicks"].tolist() == [1, 2, 2]


def test_of_one_event_time_the_row_created_last_wins(reopened: Open) -> None:
    store = reopened()
    rows = item_rows(("a", at(10), 0.1, 1, None))
    for created, clicks in ((20, 1), (30, 2), (25, 3)):
        store.put_many(
            VIEW,
            *pack(VIEW, rows.with_columns(created_time=at(created), clicks=clicks).cast(rows.schema, strict=False)),
        )
    assert store.get_many(VIEW, [b"a"])["clicks"].tolist() == [2]


def test_keys_of_two_entities_do_not_run_together(reopened: Open) -> None:
    store, view = reopened(), pair_view()
    put(store, view, (1, "2", at(1), 12.0), (12, "", at(1), 120.0), (11, "2", at(1), 112.0))
    assert store.get_many(view, [b"1\x002", b"11\x002"])["score"].tolist() == [12.0, 112.0]
    assert np.isnan(store.get_many(view, [b"12", b"112"])["score"]).all()


def test_views_and_versions_live_side_by_side(reopened: Open) -> None:
    store, second = reopened(), item_view(version=2, ttl=None)
    put(store, VIEW, ("a", at(1), 0.1, 1, None))
    put(store, second, ("a", at(1), 0.2, 2, None))
    assert store.get_many(VIEW, [b"a"])["clicks"].tolist() == [1]
    assert store.get_many(second, [b"a"])["clicks"].tolist() == [2]


def test_another_layout_under_the_same_version_is_refused(reopened: Open) -> None:
    put(reopened(), VIEW, ("a", at(1), 0.1, 1, None))
    other = item_view(ttl=None)
    with pytest.raises(StoreError, match="Raise the version"):
        reopened().get_many(other, [b"a"])


def test_the_watermark_is_kept_for_each_view(reopened: Open) -> None:
    store = reopened()
    assert store.watermark(VIEW) == 0
    store.advance(VIEW, 7)
    store.settle(VIEW)
    store = reopened()
    assert (store.watermark(VIEW), store.watermark(pair_view())) == (7, 0)


def test_many_keys_of_many_lengths_survive_settling(reopened: Open) -> None:
    """Against a dictionary; with longer keys than any before, and prefixes of one another."""
    store, expected = reopened(), {}
    generator = np.random.default_rng(0)
    for turn in range(4):
        names = ["k" * int(length) + str(number) for length, number in generator.integers(1, 9 + turn, (300, 2))]
        for number, name in enumerate(dict.fromkeys(names)):
            moment = int(generator.integers(100))
            if moment >= expected.get(name, (-1, 0))[0]:
                expected[name] = (moment, 1000 * turn + number)
            put(store, VIEW, (name, at(moment), 0.1, 1000 * turn + number, None))
        if turn % 2:
            store.settle(VIEW)
    found = store.get_many(VIEW, [name.encode() for name in expected])
    assert found["clicks"].tolist() == [clicks for _, clicks in expected.values()]
    absent_keys = [b"k", b"kk", b"z" * 400, b""]
    assert (store.get_many(VIEW, absent_keys)["clicks"] == -1).all()


def test_nothing_asked_nothing_answered(reopened: Open) -> None:
    store = reopened()
    assert len(store.get_many(VIEW, [])) == 0
    put(store, VIEW, ("a", at(1), 0.1, 1, None))
    store.settle(VIEW)
    assert len(store.get_many(VIEW, [])) == 0
