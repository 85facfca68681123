from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import materialize as module
from feature_store.exceptions import QuarantinedError, StoreError
from feature_store.materialize import materialize, push
from feature_store.offline.store import OfflineStore
from feature_store.online.embedded import LmdbConfig, LmdbStore
from feature_store.online.snapshot import SnapshotStore
from feature_store.records import pack
from tests.feature_store.declared import at, item_rows, item_view

VIEW = item_view(ttl=None)


def batch(*rows: tuple[str, int, int]) -> pl.DataFrame:
    return item_rows(*((item, at(moment), 0.5, clicks, None) for item, moment, clicks in rows))


timelines = st.lists(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.integers(0, 99)), min_size=1, max_size=6),
    min_size=1,
    max_size=5,
)


@settings(max_examples=10, deadline=None)
@given(timelines, st.lists(st.booleans(), min_size=5, max_size=5), st.booleans(), st.sampled_from(["lmdb", "snapshot"]))
def test_incremental_is_the_same_as_all_at_once(
    writes: list[list[tuple[str, int, int]]], now: list[bool], compacted: bool, kind: str
) -> None:
    """Whenever it ran in between, and whatever was late or written twice."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        offline = OfflineStore(folder / "offline")
        make = {"lmdb": LmdbStore, "snapshot": SnapshotStore}[kind]
        step, once = make(folder / "step"), make(folder / "once")
        expected: dict[str, tuple[int, int]] = {}
        for rows, is_now in zip(writes, now, strict=False):
            offline.write(VIEW, batch(*rows))
            for item, moment, clicks in rows:
                if moment >= expected.get(item, (-1, 0))[0]:
                    expected[item] = moment, clicks
            if is_now:
                materialize(offline, step, VIEW)
        if compacted:
            offline.compact(VIEW)
        materialize(offline, step, VIEW)
        materialize(offline, once, VIEW)
        keys = [item.encode() for item in expected]
        wanted = [clicks for _, clicks in expected.values()]
        assert step.get_many(VIEW, keys)["clicks"].tolist() == wanted
        assert once.get_many(VIEW, keys).tobytes() == step.get_many(VIEW, keys).tobytes()
        assert materialize(offline, step, VIEW).rows == 0
        for store in (step, once):
            store.close()


def test_it_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 2)
    offline, online = OfflineStore(tmp_path / "offline"), LmdbStore(tmp_path / "online")
    offline.write(VIEW, batch(("a", 0, 1)))
    offline.write(VIEW, batch(*((f"k{number}", 0, number) for number in range(7))))
    files = offline.files(VIEW)
    broken = offline.home / VIEW.label / files[1].path
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-10])
    with pytest.raises(StoreError, match="day=2026-01-01"):
        materialize(offline, online, VIEW)
    assert online.watermark(VIEW) == 1
    assert online.get_many(VIEW, [b"a"])["clicks"].tolist() == [1]
    broken.write_bytes(whole)
    done = materialize(offline, online, VIEW)
    assert (done.commits, done.rows, done.stored, done.watermark) == (1, 7, 7, 2)


def test_a_push_is_served_at_once_and_seen_by_training(tmp_path: Path) -> None:
    offline, online = OfflineStore(tmp_path / "offline"), LmdbStore(tmp_path / "online")
    push(offline, online, VIEW, batch(("a", 5, 1), ("a", 7, 2)), now=at(10))
    push(offline, online, VIEW, batch(("a", 6, 3)), now=at(11))  # late
    assert online.get_many(VIEW, [b"a"])["clicks"].tolist() == [2]
    rows = offline.read(VIEW, offline.files(VIEW))
    assert rows["clicks"].to_list() == [1, 2, 3]
    assert rows["created_time"].to_list() == [at(10), at(10), at(11)]
    assert materialize(offline, online, VIEW).rows == 3  # completes pushes that were killed half-way
    assert online.get_many(VIEW, [b"a"])["clicks"].tolist() == [2]


def test_a_push_from_the_future_is_refused(tmp_path: Path) -> None:
    offline, online = OfflineStore(tmp_path / "offline"), LmdbStore(tmp_path / "online")
    with pytest.raises(QuarantinedError, match="created before their event time"):
        push(offline, online, VIEW, batch(("a", 5, 1)), now=at(4))
    assert online.get_many(VIEW, [b"a"])["clicks"].tolist() == [-1]


def test_a_full_store_says_what_to_do_and_keeps_what_it_has(tmp_path: Path) -> None:
    offline = OfflineStore(tmp_path / "offline")
    online = LmdbStore(tmp_path / "online", LmdbConfig(map_size_gb=1))
    online.put_many(VIEW, *pack(VIEW, batch(("a", 1, 1)).with_columns(created_time="event_time")))
    online._environment.set_mapsize(1 << 20)  # type: ignore[union-attr]
    offline.write(VIEW, batch(*((f"a long key to fill the map {number}", 0, number) for number in range(20_000))))
    with pytest.raises(StoreError, match="map_size_gb"):
        materialize(offline, online, VIEW)
    assert online.get_many(VIEW, [b"a"])["clicks"].tolist() == [1]
    assert online.watermark(VIEW) == 0
