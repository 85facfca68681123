from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray

from pipelines.runtime import _ray
from pipelines.shard_actors import RemoteShard, open_on_ray
from recsys.embeddings.table import EmbeddingTable
from recsys.index.exact import ExactIndex
from recsys.index.generation import IndexConfig
from recsys.index.selection import Selection
from recsys.index.shards import build_shards, owners_of
from recsys.types import IdMap

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with _ray(None):
        yield


def pid_of(shard: RemoteShard) -> int:
    return int(ray.get(shard.actor.__ray_call__.remote(lambda _: os.getpid())))


def test_actors_answer_as_one_index_and_one_that_dies_is_named_until_it_is_back(cluster: None, tmp_path: Path) -> None:
    vectors = np.random.default_rng(3).standard_normal((300, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    table = EmbeddingTable(IdMap.of(f"note-{row}" for row in range(300)), vectors, "tower-a")
    build_shards(table, IndexConfig(), 2, tmp_path)
    generation = open_on_ray(tmp_path, cpus_per_shard=0.1)
    exact, queries = ExactIndex(table), vectors[:5]
    selection = Selection(np.arange(300) % 3 > 0, [np.arange(row, row + 40, dtype=np.int32) for row in range(5)])
    for chosen in (None, selection):
        rows, scores = generation.index.search(queries, 20, chosen)
        np.testing.assert_array_equal(rows, exact.search(queries, 20, chosen)[0])
        np.testing.assert_allclose(scores, exact.search(queries, 20, chosen)[1], atol=1e-6)
    assert [len(shard) for shard in generation.index._shards] == np.bincount(owners_of(table.ids, 2)).tolist()

    os.kill(pid_of(generation.index._shards[1]), signal.SIGKILL)
    answer = generation.index.search_available(queries, 20)
    deadline = time.monotonic() + 60
    while not answer.failed and time.monotonic() < deadline:  # Ray notices the death in a moment
        answer = generation.index.search_available(queries, 20)
    assert list(answer.failed) == [1]
    alive = owners_of(table.ids, 2) == 0
    np.testing.assert_array_equal(answer.rows, exact.search(queries, 20, Selection(alive))[0])
    while answer.failed and time.monotonic() < deadline:
        answer = generation.index.search_available(queries, 20)
    assert not answer.failed
    np.testing.assert_array_equal(answer.rows, exact.search(queries, 20)[0])
    generation.index.close()
