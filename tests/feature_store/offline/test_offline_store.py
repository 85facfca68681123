from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from feature_store.exceptions import StoreError
from feature_store.offline.store import OfflineStore
from tests.feature_store.declared import DAY, START, at, item_rows, item_view

VIEW = item_view()


def batch(*events: tuple[str, float, int]) -> pl.DataFrame:
    return item_rows(*((item, START + days * DAY, 0.5, clicks, [1, 2, 3]) for item, days, clicks in events))


def clicks_of(store: OfflineStore) -> list[int]:
    return store.read(VIEW, store.files(VIEW))["clicks"].to_list()


def test_rows_are_partitioned_by_day_and_sorted_by_key(tmp_path: Path) -> None:
    store = OfflineStore(tmp_path)
    commit = store.write(VIEW, batch(("b", 0.5, 1), ("a", 1.5, 2), ("a", 0.75, 3), ("a", 0.25, 4)))
    assert [(str(file.day), file.rows, file.first_event) for file in commit.added] == [
        ("2026-01-01", 3, at(6 * 3600)),
        ("2026-01-02", 1, at(36 * 3600)),
    ]
    assert sorted(path.parent.name for path in tmp_path.glob("*/*/*.parquet")) == ["day=2026-01-01", "day=2026-01-02"]
    assert clicks_of(store) == [4, 3, 1, 2]


def test_another_reader_sees_each_write_when_it_is_whole(tmp_path: Path) -> None:
    writer, reader = OfflineStore(tmp_path), OfflineStore(tmp_path)
    assert clicks_of(reader) == []
    for number in range(3):
        writer.write(VIEW, batch(("a", number, number)))
        assert clicks_of(reader) == list(range(number + 1))


def test_only_days_that_can_matter_are_read(tmp_path: Path) -> None:
    store = OfflineStore(tmp_path)
    store.write(VIEW, batch(*(("a", day, day) for day in range(5))))
    files = store.files(VIEW, since=START + DAY, until=START + 3 * DAY)
    assert store.read(VIEW, files)["clicks"].to_list() == [1, 2, 3]
    assert store.read(VIEW, store.files(VIEW, since=START + 9 * DAY)).is_empty()


def test_what_a_killed_writer_left_is_not_seen_and_then_removed(tmp_path: Path) -> None:
    store = OfflineStore(tmp_path)
    store.write(VIEW, batch(("a", 0, 1)))
    left = store.log(VIEW).folder / "day=2026-01-01" / "000000000002-abcdef.parquet"
    left.write_bytes(b"half a fi")
    assert clicks_of(OfflineStore(tmp_path)) == [1]
    later = OfflineStore(tmp_path)
    later.write(VIEW, batch(("a", 1, 2)))
    assert not left.exists()
    assert clicks_of(later) == [1, 2]


def test_compaction_changes_files_and_not_rows(tmp_path: Path) -> None:
    store = OfflineStore(tmp_path)
    for number in range(6):
        store.write(VIEW, batch(("a", number % 2, number), ("b", number % 2, number)))
    before = store.read(VIEW, store.files(VIEW)).sort("item_id", "event_time", "clicks")
    commit = store.compact(VIEW)
    assert commit is not None
    assert len(commit.dropped) == 6
    assert [file.sequence for file in store.files(VIEW)] == [5, 6]
    for reader in (store, OfflineStore(tmp_path)):
        assert reader.read(VIEW, reader.files(VIEW)).sort("item_id", "event_time", "clicks").equals(before)
    # of equal times the last written still comes last
    assert store.read(VIEW, store.files(VIEW)[:1])["clicks"].to_list() == [0, 2, 4, 0, 2, 4]
    assert len(list(tmp_path.glob("*/*/*.parquet"))) == 8  # readers of the old files go on
    assert store.compact(VIEW) is None
    assert len(list(tmp_path.glob("*/*/*.parquet"))) == 2


def test_a_damaged_commit_is_an_error_by_name(tmp_path: Path) -> None:
    store = OfflineStore(tmp_path)
    store.write(VIEW, batch(("a", 0, 1)))
    file = tmp_path / VIEW.label / "commits" / "000000000001.json"
    file.write_text("{")
    with pytest.raises(StoreError, match=r"000000000001\.json"):
        OfflineStore(tmp_path).files(VIEW)
