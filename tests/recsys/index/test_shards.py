from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import ArtifactError
from recsys.index.ann import FaissConfig
from recsys.index.exact import ExactIndex
from recsys.index.generation import IndexConfig
from recsys.index.selection import Selection
from recsys.index.shards import ShardedGeneration, ShardedIndex, build_shards, owners_of, shard_path
from recsys.types import NO_ROW, IdMap

ROWS, WIDTH = 600, 12
EVERY_LIST = IndexConfig(kind="faiss", faiss=FaissConfig(nlist=2, nprobe=2))


@pytest.fixture(scope="module")
def table() -> EmbeddingTable:
    """Clustered vectors with exact ties in different shards and some items without a vector."""
    vectors = np.random.default_rng(3).standard_normal((ROWS, WIDTH))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    vectors[50:90] = vectors[10]
    vectors[::60] = 0
    return EmbeddingTable(IdMap.of(f"note-{row}" for row in range(ROWS)), vectors, "tower-a")


@pytest.mark.parametrize("shards", [1, 3, 40])
@pytest.mark.parametrize("config", [IndexConfig(), EVERY_LIST], ids=["exact", "ivf, all lists"])
def test_shards_answer_as_one_index(table: EmbeddingTable, tmp_path: Path, config: IndexConfig, shards: int) -> None:
    metrics = build_shards(table, config, shards, tmp_path)
    generation = ShardedGeneration.open(tmp_path)
    assert (metrics["rows"], metrics["indexed"], metrics["shards"], metrics["recall@10"]) == (
        ROWS,
        ROWS - 10,
        shards,
        1,
    )
    assert (len(generation.index), generation.fingerprint) == (ROWS, "tower-a")
    assert list(generation.ids) == list(table.ids)
    random = np.random.default_rng(4)
    queries = np.asarray(table.vectors[[10, 55, 200]])
    allowed = random.random(ROWS) < 0.2
    excluded = [random.choice(ROWS, 100, replace=False).astype(np.int32) for _ in queries]
    excluded[1] = np.empty(0, np.int32)
    for selection in (None, Selection(allowed), Selection(None, excluded), Selection(allowed, excluded)):
        for k in (1, 30, ROWS + 5):
            rows, scores = generation.index.search(queries, k, selection)
            expected = ExactIndex(table).search(queries, k, selection)
            np.testing.assert_array_equal(rows, expected[0])
            np.testing.assert_allclose(scores, expected[1], atol=1e-5)
    generation.index.close()


def test_an_item_is_in_one_shard_and_in_the_same_for_ever() -> None:
    ids = [f"note-{row}" for row in range(10_000)]
    owners = owners_of(ids, 7)
    assert owners[:5].tolist() == [zlib_owner(item) for item in ids[:5]]
    counts = np.bincount(owners, minlength=7)
    assert counts.min() > 0.9 * 10_000 / 7
    np.testing.assert_array_equal(owners, owners_of(ids, 7))


def zlib_owner(item: str) -> int:
    """CRC32 (ISO 3309), bit by bit."""
    register = 0xFFFFFFFF
    for byte in item.encode():
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0xEDB88320 if register & 1 else 0)
    return (register ^ 0xFFFFFFFF) % 7


def test_a_shard_that_cannot_be_opened_is_named_and_the_others_answer(table: EmbeddingTable, tmp_path: Path) -> None:
    build_shards(table, EVERY_LIST, 3, tmp_path)
    (shard_path(tmp_path, 1) / "index.faiss").unlink()
    index = ShardedGeneration.open(tmp_path).index
    queries = np.asarray(table.vectors[[10, 200]])
    answer = index.search_available(queries, ROWS)
    assert list(answer.failed) == [1]
    assert "There is no index file" in answer.failed[1]
    alive = owners_of(table.ids, 3) != 1
    np.testing.assert_array_equal(answer.rows, ExactIndex(table).search(queries, ROWS, Selection(alive))[0])
    with pytest.raises(ArtifactError, match=r"1 of 3 shards did not answer \(shard 1: .*could not be opened"):
        index.search(queries, 3)
    index.close()


class Hanging(ExactIndex):
    """A shard that answers only once it is let."""

    def __init__(self, table: EmbeddingTable) -> None:
        super().__init__(table)
        self.go = threading.Event()

    def search(self, queries, k, selection=None):
        self.go.wait()
        return super().search(queries, k, selection)


def test_a_late_shard_is_named_delays_nobody_and_is_back_when_it_answers_again(table: EmbeddingTable) -> None:
    owners = (np.arange(ROWS) % 2).astype(np.int16)
    halves = [EmbeddingTable(table.ids.of_rows(slice(n, None, 2)), table.vectors[n::2], "tower-a") for n in range(2)]
    late = Hanging(halves[1])
    index = ShardedIndex([ExactIndex(halves[0]), late], owners, WIDTH)
    queries = np.asarray(table.vectors[[10, 201]])
    for _ in range(10):  # more often than a shard has threads
        answer = index.search_available(queries, 5, seconds=0.05)
        assert answer.failed == {1: "no answer within 0.05 s"}
        assert (answer.rows % 2 == 0).all()
        np.testing.assert_array_equal(answer.rows // 2, ExactIndex(halves[0]).search(queries, 5)[0])
    late.go.set()
    whole = index.search_available(queries, 5, seconds=60)
    assert not whole.failed
    np.testing.assert_array_equal(whole.rows, ExactIndex(table).search(queries, 5)[0])
    index.close()


def test_when_all_shards_fail_nothing_is_found_and_all_are_named(table: EmbeddingTable, tmp_path: Path) -> None:
    build_shards(table, IndexConfig(), 2, tmp_path)
    for number in range(2):
        (shard_path(tmp_path, number) / "generation.json").unlink()
    answer = ShardedGeneration.open(tmp_path).index.search_available(np.asarray(table.vectors[:2]), 3)
    assert (answer.rows.tolist(), list(answer.failed)) == ([[NO_ROW] * 3] * 2, [0, 1])


def test_queries_that_fit_no_shard_are_the_callers_mistake(table: EmbeddingTable, tmp_path: Path) -> None:
    build_shards(table, IndexConfig(), 2, tmp_path)
    with pytest.raises(ArtifactError, match="do not fit an index of width 12"):
        ShardedGeneration.open(tmp_path).index.search_available(np.ones((1, 3), np.float32), 3)
