import zlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.exceptions import DataError
from recsys.types import NO_ROW, Candidates, Histories, IdMap


def test_ids_and_rows_are_inverse_and_the_unknown_has_no_row():
    ids = IdMap.of(["b", "a", "07"])
    assert len(ids) == 3
    assert [ids.row(external) for external in ("b", "a", "07", "7")] == [0, 1, 2, NO_ROW]
    assert ids.rows(["07", "zz", "b"]).tolist() == [2, NO_ROW, 0]
    assert ids.rows([]).dtype == np.int32
    assert ids.externals(ids.rows(["07", "zz", "b"])) == ["07", "b"]


def test_ids_that_share_a_hash_are_told_apart():
    assert zlib.crc32(b"plumless") == zlib.crc32(b"buckeroo")
    ids = IdMap.of(["x", "plumless", "buckeroo"])
    assert ids.rows(["buckeroo", "plumless", "x", "y"]).tolist() == [2, 1, 0, NO_ROW]
    assert [ids.row(external) for external in ("buckeroo", "plumless")] == [2, 1]
    alone = IdMap.of(["buckeroo"])
    assert alone.row("plumless") == alone.rows(["plumless"])[0] == NO_ROW
    with pytest.raises(DataError, match="'plumless' occurs 2 times"):
        IdMap.of(["plumless", "buckeroo", "plumless"])


@pytest.mark.parametrize("size", [0, 1, 10_000])
def test_a_saved_map_is_the_same_when_it_is_mapped_again(size: int, tmp_path: Path):
    names = [f"笔记-{number * 7919 % 10_007}" for number in range(size)]
    IdMap.of(names).save(tmp_path / "ids.arrow")
    opened = IdMap.open(tmp_path / "ids.arrow")
    assert len(opened) == size
    assert list(opened) == names
    asked = [*names[::3], "笔记", "", *names[:5]]
    truth = [names.index(name) if name in names[:1000] else -1 for name in asked]
    found = opened.rows(asked)
    assert found.dtype == np.int32
    assert [row if row < 1000 else -1 for row in found.tolist()] == truth
    assert opened.externals(found) == [name for name in asked if name in set(names)]
    assert opened.rows(pl.Series(asked, dtype=pl.String)).tolist() == found.tolist()
    assert [opened.row(name) for name in asked[:50]] == found[:50].tolist()


def test_a_map_of_some_rows():
    ids = IdMap.of(pl.Series(["a", "b", "c", "d"]))
    for rows in (np.array([1, 3]), np.array([False, True, False, True]), slice(1, None, 2)):
        part = ids.of_rows(rows)
        assert (list(part), part.row("d"), part.row("a")) == (["b", "d"], 1, NO_ROW)
    assert (ids[2], ids[np.int32(3)]) == ("c", "d")


def test_a_double_id_is_named():
    with pytest.raises(DataError, match="'b' occurs 3 times"):
        IdMap.of(["a", "b", "b", "c", "b"])


def histories():
    return Histories.of([[3, 1, 4], [], [1, 5]])


def test_histories_keep_who_did_what():
    found = histories()
    assert len(found) == 3
    assert [found[user].tolist() for user in range(3)] == [[3, 1, 4], [], [1, 5]]
    assert found.lengths.tolist() == [3, 0, 2]
    assert found.weights.tolist() == [1.0] * 5


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (1, 3), (0, 1), (1, 2), (2, 9), (1, 1)])
def test_a_slice_of_histories_is_the_slice_of_the_list(start, stop):
    part = histories().slice(start, stop)
    assert [part[user].tolist() for user in range(len(part))] == [[3, 1, 4], [], [1, 5]][start:stop]


def test_slices_keep_who_the_users_are():
    whole = histories()
    known = Histories(whole.offsets, whole.items, whole.weights, np.array([7, NO_ROW, 4], np.int32))
    assert known.slice(1, 3).users.tolist() == [NO_ROW, 4]
    assert known.take(np.array([2, 0])).users.tolist() == [4, 7]
    assert whole.slice(0, 2).users is None


def test_recent_is_newest_first_and_padded():
    whole = histories()
    weighted = Histories(whole.offsets, whole.items, np.arange(1, 6, dtype=np.float32))
    rows, weights = weighted.recent(2)
    assert rows.tolist() == [[4, 1], [NO_ROW, NO_ROW], [5, 1]]
    assert weights.tolist() == [[3, 2], [0, 0], [5, 4]]
    rows, weights = Histories.of([[], []]).recent(2)
    assert rows.tolist() == [[NO_ROW] * 2] * 2
    assert weights.tolist() == [[0, 0]] * 2


def test_the_top_of_candidates():
    found = Candidates(np.array([[1, 2, 3]], np.int32), np.array([[3, 2, 1]], np.float32), "dense").top(2)
    assert (found.rows.tolist(), found.scores.tolist(), found.source, len(found)) == ([[1, 2]], [[3, 2]], "dense", 1)
