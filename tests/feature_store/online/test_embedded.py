from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from feature_store.exceptions import StoreError
from feature_store.online.embedded import LmdbStore
from feature_store.records import pack
from tests.feature_store.declared import at, item_rows, item_view

VIEW = item_view()


def put(store: LmdbStore, clicks: int) -> None:
    rows = item_rows(("a", at(clicks), 0.5, clicks, None)).with_columns(created_time="event_time")
    store.put_many(VIEW, *pack(VIEW, rows))


def test_a_store_that_was_opened_before_a_fork_works_in_the_child(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    put(store, 1)
    here, there = multiprocessing.get_context("fork").Pipe()

    def in_child() -> None:
        there.send(store.get_many(VIEW, [b"a"])["clicks"].tolist())
        there.recv()  # until the parent has written
        there.send(store.get_many(VIEW, [b"a"])["clicks"].tolist())

    child = multiprocessing.get_context("fork").Process(target=in_child)
    child.start()
    there.close()
    assert here.poll(30)
    assert here.recv() == [1]
    put(store, 2)
    here.send("written")
    assert here.poll(30)
    assert here.recv() == [2]
    child.join(30)
    assert child.exitcode == 0
    store.close()


def test_a_folder_that_is_open_twice_in_a_process_is_an_error(tmp_path: Path) -> None:
    first = LmdbStore(tmp_path)
    put(first, 1)
    with pytest.raises(StoreError, match="already open in this process"):
        put(LmdbStore(tmp_path), 2)
    first.close()
    second = LmdbStore(tmp_path)
    put(second, 2)
    assert second.get_many(VIEW, [b"a"])["clicks"].tolist() == [2]
    second.close()
