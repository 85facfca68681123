from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from recsys.artifacts import Artifact
from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import ArtifactError, DataError, FingerprintMismatchError
from recsys.index.ann import FaissConfig
from recsys.index.exact import ExactIndex
from recsys.index.generation import IndexConfig, build_generation
from recsys.index.live import LiveConfig, LiveIndex
from recsys.index.selection import Selection
from recsys.index.snapshot import Snapshot
from recsys.types import NO_ROW, IdMap

WIDTH, ITEMS = 8, 300
EXACT = IndexConfig(kind="exact")
EVERY_LIST = IndexConfig(kind="faiss", faiss=FaissConfig(nlist=8, nprobe=8))
every_kind = pytest.mark.parametrize("index", [EXACT, EVERY_LIST], ids=["exact", "ivf, all lists"])


def unit(random: np.random.Generator, count: int, width: int = WIDTH) -> np.ndarray:
    vectors = random.standard_normal((count, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def table_of(items: dict[str, np.ndarray]) -> EmbeddingTable:
    return EmbeddingTable(IdMap.of(items), np.stack(list(items.values())), "tower-a")


@pytest.fixture
def items() -> dict[str, np.ndarray]:
    return dict(zip([f"i{n}" for n in range(ITEMS)], unit(np.random.default_rng(1), ITEMS), strict=True))


Start = Callable[..., LiveIndex]


@pytest.fixture
def start(tmp_path: Path, items: dict[str, np.ndarray]) -> Iterator[Start]:
    opened = []

    def make(index: IndexConfig = EXACT, merge_at: int = 10**6, keep: int = 0) -> LiveIndex:
        build_generation(table_of(items), index, tmp_path / "generation")
        config = LiveConfig(index=index, merge_at=merge_at, keep=keep)
        opened.append(LiveIndex.create(tmp_path / "live", tmp_path / "generation", config))
        return opened[-1]

    yield make
    for live in opened:
        live.close()


def agrees(snapshot: Snapshot, items: dict[str, np.ndarray], random: np.random.Generator) -> None:
    """The snapshot answers as an exact index over the items, found by id and score, and names each at most once."""
    queries = np.concatenate([unit(random, 5), np.stack(list(items.values())[-3:])])
    rows, scores = snapshot.search(queries, len(items) + 5)
    assert snapshot.items == len(items)
    ids, truth = list(items), queries @ np.stack(list(items.values())).T
    for query in range(len(queries)):
        found = snapshot.externals(rows[query])
        assert sorted(found) == sorted(ids)
        np.testing.assert_allclose(scores[query, : len(found)], -np.sort(-truth[query]), atol=1e-5)
        by_id = dict(zip(ids, truth[query], strict=True))
        np.testing.assert_allclose(scores[query, : len(found)], [by_id[item] for item in found], atol=1e-5)
        assert (rows[query, len(found) :] == NO_ROW).all()
        assert np.isneginf(scores[query, len(found) :]).all()
    few = snapshot.search(queries, 7)
    np.testing.assert_array_equal(few[0], rows[:, :7])
    assert snapshot.externals(snapshot.rows(ids)) == ids


@every_kind
def test_random_changes_are_found_at_once_and_again_after_reopening(
    start: Start, items: dict[str, np.ndarray], index: IndexConfig, tmp_path: Path
) -> None:
    """Puts of new and old items, removals of items and of nothing, merges, reopenings, beside a plain dict."""
    random = np.random.default_rng(5)
    live, truth = start(index), dict(items)
    for step in range(60):
        if random.random() < 0.6:
            ids = list(random.choice([f"i{n}" for n in range(ITEMS + 200)], random.integers(1, 30), replace=False))
            vectors = unit(random, len(ids))
            live.put(ids, vectors, "tower-a")
            truth |= dict(zip(ids, vectors, strict=True))
        else:
            ids = list(random.choice([*truth, "nobody"], random.integers(1, 30)))
            live.remove(ids)
            truth = {item: vector for item, vector in truth.items() if item not in ids}
        if step % 17 == 16:
            assert live.merge()
            assert not live.merge()
        if step % 11 == 10:
            sequence = live.snapshot.sequence
            live.close()
            live.__init__(tmp_path / "live", live.config)
            assert live.snapshot.sequence == sequence == step + 1
        agrees(live.snapshot, truth, random)


def test_the_newest_version_wins_and_what_came_before_is_gone(start: Start, items: dict[str, np.ndarray]) -> None:
    live = start()
    east, north = np.zeros((1, WIDTH), np.float32), np.zeros((1, WIDTH), np.float32)
    east[0, 0] = north[0, 1] = 1
    live.put(["i0"], east, "tower-a")
    live.put(["i0", "i0"], np.concatenate([east, north]), "tower-a")
    rows, scores = live.snapshot.search(north, ITEMS + 3)
    assert (live.snapshot.externals(rows[0])[0], scores[0, 0]) == ("i0", 1)
    assert live.snapshot.externals(rows[0]).count("i0") == 1
    assert live.snapshot.row("i0") == ITEMS + 1
    live.remove(["i0"])
    assert "i0" not in live.snapshot.externals(live.snapshot.search(north, ITEMS + 3)[0][0])
    assert live.snapshot.row("i0") == NO_ROW
    live.put(["i0"], north, "tower-a")
    assert live.snapshot.externals(live.snapshot.search(north, 1)[0][0]) == ["i0"]


@every_kind
def test_everything_may_be_removed_and_come_back(
    start: Start, items: dict[str, np.ndarray], index: IndexConfig
) -> None:
    live = start(index)
    live.remove(list(items))
    query = unit(np.random.default_rng(0), 1)
    for _ in range(2):
        rows, scores = live.snapshot.search(query, 3)
        assert (rows.tolist(), live.snapshot.items) == ([[NO_ROW] * 3], 0)
        assert np.isneginf(scores).all()
        live.merge()
    back = dict(zip([f"b{n}" for n in range(20)], unit(np.random.default_rng(9), 20), strict=True))
    live.put(list(back), np.stack(list(back.values())), "tower-a")
    agrees(live.snapshot, back, np.random.default_rng(0))
    live.merge()
    agrees(live.snapshot, back, np.random.default_rng(0))


def test_a_zero_vector_is_an_item_that_is_never_found(start: Start) -> None:
    live = start()
    live.put(["i3", "blank"], np.zeros((2, WIDTH), np.float32), "tower-a")
    for _ in range(2):
        found = live.snapshot.externals(live.snapshot.search(unit(np.random.default_rng(0), 1), ITEMS + 9)[0][0])
        assert len(found) == ITEMS - 1
        assert not {"i3", "blank"} & set(found)
        assert (live.snapshot.items, live.snapshot.row("blank") != NO_ROW) == (ITEMS + 1, True)
        live.merge()


@every_kind
def test_selections_hold_for_old_and_new_rows(start: Start, items: dict[str, np.ndarray], index: IndexConfig) -> None:
    random = np.random.default_rng(2)
    live, truth = start(index), dict(items)
    new = [*[f"i{n}" for n in range(40, 60)], *[f"n{n}" for n in range(30)]]
    vectors = unit(random, len(new))
    live.put(new, vectors, "tower-a")
    truth |= dict(zip(new, vectors, strict=True))
    live.remove(["i7", "n7"])
    snapshot, queries, ids = live.snapshot, unit(random, 4), np.array([item for item in truth if item[1:] != "7"])
    allowed = random.random(len(snapshot)) < 0.3
    seen = [random.choice(ids, 50, replace=False) for _ in queries]
    excluded = [snapshot.rows([*of_query, "i7", "i3"]) for of_query in seen]
    assert all(rows[-2] == NO_ROW for rows in excluded)  # i7 is removed: nothing to exclude
    excluded = [rows[rows != NO_ROW] for rows in excluded]
    for selection in (Selection(allowed), Selection(None, excluded), Selection(allowed, excluded)):
        rows, scores = snapshot.search(queries, len(snapshot), selection)
        for query in range(len(queries)):
            gone = {*seen[query], "i3"} if selection.excluded else set()
            wanted = [item for item in ids if item not in gone]
            if selection.allowed is not None:
                wanted = [item for item in wanted if allowed[snapshot.row(item)]]
            assert sorted(snapshot.externals(rows[query])) == sorted(wanted)
            best = -np.sort([-float(queries[query] @ truth[item]) for item in wanted])
            np.testing.assert_allclose(scores[query, : len(wanted)], best, atol=1e-5)
    with pytest.raises(ArtifactError, match=rf"The selection has 3 rows, the snapshot {len(snapshot)}"):
        snapshot.search(queries, 3, Selection(np.ones(3, np.bool_)))


def test_a_snapshot_stays_as_it_was(start: Start, items: dict[str, np.ndarray]) -> None:
    random = np.random.default_rng(8)
    live = start()
    live.put(["new", "i1"], unit(random, 2), "tower-a")
    before, queries = live.snapshot, unit(random, 6)
    answer = before.search(queries, ITEMS + 1)
    ids = [before.externals(rows) for rows in answer[0]]
    row = before.row("new")
    live.put(["new", "i1", *[f"m{n}" for n in range(5000)]], unit(random, 5002), "tower-a")
    live.remove(list(items))
    live.merge()
    live.put(["i5"], unit(random, 1), "tower-a")
    again = before.search(queries, ITEMS + 1)
    np.testing.assert_array_equal(answer[0], again[0])
    np.testing.assert_array_equal(answer[1], again[1])
    assert [before.externals(rows) for rows in again[0]] == ids
    assert (before.row("new"), before.items) == (row, ITEMS + 1)


def test_searches_see_whole_commits_while_writers_write_and_merges_run(start: Start) -> None:
    """Each commit moves one group of items to one new direction: a search that finds two directions has seen half."""
    live = start(merge_at=500)
    directions = unit(np.random.default_rng(3), 400)
    group = [f"g{n}" for n in range(10)]
    live.put(group, np.repeat(directions[:1], 10, axis=0), "tower-a")
    stop, wrong, searches = threading.Event(), [], [0, 0]

    def search(number: int) -> None:
        while not stop.is_set():
            snapshot = live.snapshot
            table, rows = snapshot.search(directions, 10), snapshot.rows(group)
            matched = np.flatnonzero(table[1][:, -1] > 0.99999)
            if len(matched) != 1 or sorted(snapshot.externals(table[0][matched[0]])) != group or NO_ROW in rows:
                wrong.append((snapshot.sequence, matched))
            searches[number] += 1

    threads = [threading.Thread(target=search, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for step in range(1, 150):
        live.put(group, np.repeat(directions[step : step + 1], 10, axis=0), "tower-a")
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert min(searches) > 3
    live.close()
    assert live.snapshot.base.metrics["rows"] == ITEMS + 10  # it was merged on the way
    live.__init__(live._store.home, live.config)
    assert live.snapshot.sequence == 150


def test_writers_of_several_threads_share_commits_and_lose_nothing(start: Start) -> None:
    live = start()
    vectors = unit(np.random.default_rng(4), 8 * 30)
    sequences: list[list[int]] = [[] for _ in range(8)]

    def write(number: int) -> None:
        for n in range(30):
            place = 30 * number + n
            sequences[number].append(live.put([f"t{place}"], vectors[place : place + 1], "tower-a"))
            assert live.snapshot.row(f"t{place}") != NO_ROW

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(own == sorted(set(own)) for own in sequences)
    assert live.snapshot.sequence == max(map(max, sequences)) < 240  # fewer commits than writes
    rows, scores = live.snapshot.search(vectors, 1)
    assert live.snapshot.externals(rows[:, 0]) == [f"t{place}" for place in range(240)]
    np.testing.assert_allclose(scores[:, 0], 1, atol=1e-5)


def test_after_churn_recall_is_within_a_point_of_a_rebuild_before_and_after_the_merge(tmp_path: Path) -> None:
    """30% of 4,000 clustered items: a third removed, a third moved to other clusters, a third new."""
    random = np.random.default_rng(6)
    centres = unit(random, 60, 32)

    def clustered(count: int) -> np.ndarray:
        vectors = centres[random.integers(0, 60, count)] + 0.15 * random.standard_normal((count, 32))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    config = IndexConfig(kind="faiss", faiss=FaissConfig(nlist=60, nprobe=1))
    truth = dict(zip([f"i{n}" for n in range(4000)], clustered(4000), strict=True))
    build_generation(table_of(truth), config, tmp_path / "old")
    live = LiveIndex.create(tmp_path / "live", tmp_path / "old", LiveConfig(index=config))
    removed, moved = list(truth)[:1200:3], list(truth)[1:1200:3]
    added = [*moved, *[f"n{n}" for n in range(400)]]
    vectors = clustered(len(added))
    live.remove(removed)
    live.put(added, vectors, "tower-a")
    truth = {item: vector for item, vector in truth.items() if item not in set(removed)}
    truth |= dict(zip(added, vectors, strict=True))
    exact, queries = ExactIndex(table_of(truth)), clustered(400)
    ids = np.array(list(truth))
    best = [set(ids[rows]) for rows in exact.search(queries, 10)[0]]

    def recall(externals: Callable[[np.ndarray], list[str]], rows: np.ndarray) -> float:
        return float(np.mean([len(want & set(externals(got))) / 10 for want, got in zip(best, rows, strict=True)]))

    build_generation(table_of(truth), config, tmp_path / "rebuilt")
    rebuilt = LiveIndex.create(tmp_path / "other", tmp_path / "rebuilt", LiveConfig(index=config))
    of_rebuild = recall(rebuilt.snapshot.externals, rebuilt.snapshot.search(queries, 10)[0])
    before = recall(live.snapshot.externals, live.snapshot.search(queries, 10)[0])
    live.merge()
    after = recall(live.snapshot.externals, live.snapshot.search(queries, 10)[0])
    assert 0.5 < of_rebuild < 0.99  # lists are really left out
    assert before > of_rebuild - 0.01
    assert after > of_rebuild - 0.01


def test_a_merge_starts_by_itself_keeps_what_is_asked_and_shortens_the_log(start: Start, tmp_path: Path) -> None:
    live = start(merge_at=100, keep=1)
    random = np.random.default_rng(7)
    for step in range(6):
        live.put([f"{step}-{n}" for n in range(40)], unit(random, 40), "tower-a")
        if live._merger is not None:
            live._merger.join()
    assert live.snapshot.base.metrics["rows"] == ITEMS + 240
    assert len(live.snapshot) == live.snapshot.items == ITEMS + 240
    live.close()
    bases = {path.name for path in (tmp_path / "live/base").iterdir()} - {"CURRENT"}
    assert bases == set((tmp_path / "live/base/CURRENT").read_text().split())
    assert len(bases) == 2
    assert [file.name for file in (tmp_path / "live/log").iterdir()] == ["00000000000000000007.log"]
    for key in bases:
        Artifact.open(tmp_path / "live/base" / key).verify()


def test_the_generation_it_started_from_is_left_alone(start: Start, tmp_path: Path) -> None:
    live = start()
    files = sorted(file for file in (tmp_path / "generation").rglob("*") if file.is_file())
    before = [file.read_bytes() for file in files]
    live.put(["new"], unit(np.random.default_rng(0), 1), "tower-a")
    live.merge()
    assert [file.read_bytes() for file in files] == before
    manifest = json.loads(next((tmp_path / "live/base").glob("*/manifest.json")).read_text())
    assert manifest["config"]["origin"] == "generation"


def test_what_cannot_be_written_is_refused_and_changes_nothing(start: Start) -> None:
    live = start()
    one = unit(np.random.default_rng(0), 1)
    with pytest.raises(FingerprintMismatchError, match="tower-b"):
        live.put(["a"], one, "tower-b")
    with pytest.raises(ArtifactError, match="'b' has length 2"):
        live.put(["a", "b"], np.concatenate([one, 2 * one]), "tower-a")
    with pytest.raises(ArtifactError, match="'a' has length nan"):
        live.put(["a"], one * np.float32(np.nan), "tower-a")
    with pytest.raises(DataError, match=r"\(1, 7\) for 1 items"):
        live.put(["a"], one[:, :7], "tower-a")
    with pytest.raises(DataError, match="Id number 1 is empty"):
        live.put(["a", ""], np.concatenate([one, one]), "tower-a")
    with pytest.raises(DataError, match="Id number 0 is empty"):
        live.remove([""])
    assert (live.snapshot.sequence, live.snapshot.items) == (0, ITEMS)
    with pytest.raises(FingerprintMismatchError):
        live.snapshot.search_as(one, 3, "tower-b")
    np.testing.assert_array_equal(live.snapshot.search_as(one, 3, "tower-a")[0], live.snapshot.search(one, 3)[0])


def test_the_caller_may_reuse_its_array(start: Start) -> None:
    live = start()
    vectors = unit(np.random.default_rng(0), 1)
    query = vectors.copy()
    live.put(["a"], vectors, "tower-a")
    vectors[:] = 0
    assert live.snapshot.search(query, 1)[1][0, 0] == pytest.approx(1)


def test_one_writer_at_a_time(start: Start, tmp_path: Path) -> None:
    live = start()
    with pytest.raises(ArtifactError, match="has it open twice"):
        LiveIndex(tmp_path / "live", live.config)
    with pytest.raises(ArtifactError, match="There is a live index in"):
        LiveIndex.create(tmp_path / "live", tmp_path / "generation", live.config)
    with pytest.raises(ArtifactError, match="There is no base"):
        LiveIndex(tmp_path / "nowhere", live.config)
    live.close()
    live.close()
    with pytest.raises(ArtifactError, match="cannot be written"):
        live.remove(["i1"])
    LiveIndex(tmp_path / "live", live.config).close()


def test_a_generation_built_meanwhile_takes_over_with_what_changed_since(
    start: Start, items: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """Changes before the pin are the new generation's matter; those after it hold, merged or not, restarted or not."""
    random = np.random.default_rng(12)
    live, vectors = start(), unit(random, 5)
    live.remove(["i1", "i2"])
    contains = live.pin()
    rebuilt = {item: vector for item, vector in items.items() if item != "i1"} | {"x": vectors[0]}  # i2 is back
    build_generation(table_of(rebuilt), EXACT, tmp_path / "rebuilt")
    live.put(["x", "y", "z"], vectors[1:4], "tower-a")
    live.remove(["i3"])
    live.merge()  # forgets nothing that is pinned
    live.put(["y"], vectors[4:], "tower-a")
    live.remove(["z"])
    assert [(list(change.ids), change.vectors is None) for change in live.changes_since(contains)] == [
        (["x", "y", "z"], False), (["i3"], True), (["y"], False), (["z"], True),
    ]  # fmt: skip
    live.rebase(tmp_path / "rebuilt", contains)
    truth = {item: vector for item, vector in rebuilt.items() if item != "i3"} | {"x": vectors[1], "y": vectors[4]}
    agrees(live.snapshot, truth, random)
    live.close()
    live.__init__(tmp_path / "live", live.config)
    agrees(live.snapshot, truth, random)
    live.merge()
    agrees(live.snapshot, truth, random)
    assert len(list((tmp_path / "live/log").iterdir())) == 1


def test_a_generation_that_does_not_fit_does_not_take_over(
    start: Start, items: dict[str, np.ndarray], tmp_path: Path
) -> None:
    live = start()
    other = EmbeddingTable(table_of(items).ids, table_of(items).vectors, "tower-b")
    build_generation(other, EXACT, tmp_path / "other")
    with pytest.raises(FingerprintMismatchError):
        live.rebase(tmp_path / "other", 0)
    live.remove(["i1"])
    live.merge()  # forgets commit 1: nobody has pinned it
    live.remove(["i2"])
    base = live.snapshot.base
    with pytest.raises(ArtifactError, match="Commit 1 is missing"):
        live.rebase(tmp_path / "generation", 0)
    assert (live.snapshot.base, live.snapshot.row("i1"), live.snapshot.row("i2")) == (base, NO_ROW, NO_ROW)
