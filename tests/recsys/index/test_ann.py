from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import ArtifactError, ConfigError
from recsys.index.ann import DROPPED, FaissConfig, FaissIndex
from recsys.index.exact import ExactIndex
from recsys.index.selection import Selection
from recsys.types import NO_ROW, IdMap


@pytest.fixture(scope="module")
def clustered() -> EmbeddingTable:
    """2,000 vectors around 40 centres; every tenth item has no vector."""
    generator = np.random.default_rng(3)
    centres = generator.standard_normal((40, 16))
    vectors = centres[generator.integers(0, 40, 2000)] + generator.standard_normal((2000, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    vectors[::10] = 0
    return EmbeddingTable(IdMap.of(f"i{row}" for row in range(2000)), vectors, "tower")


def test_same_seed_same_file_another_seed_another(clustered: EmbeddingTable, tmp_path: Path) -> None:
    files = []
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        FaissIndex.build(clustered, FaissConfig(seed=seed)).save(tmp_path / name)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_more_probes_find_more_and_all_probes_find_everything(clustered: EmbeddingTable) -> None:
    queries = clustered.vectors[1:2000:10]
    truth, _ = ExactIndex(clustered).search(queries, 10)

    def recall(nprobe: int) -> float:
        found, _ = FaissIndex.build(clustered, FaissConfig(nlist=40, nprobe=nprobe)).search(queries, 10)
        return float((found[:, :, None] == truth[:, None, :]).any(axis=1).mean())

    one, eight, every = recall(1), recall(8), recall(40)
    assert 0.3 < one < eight < 1
    assert eight > 0.9
    assert every == 1


def test_zero_vectors_are_never_found(clustered: EmbeddingTable) -> None:
    found, _ = FaissIndex.build(clustered, FaissConfig(nlist=8, nprobe=8)).search(clustered.vectors[1:4], 2000)
    assert np.sort(found[0])[200:].tolist() == [row for row in range(2000) if row % 10]


def test_lists_are_four_root_n_unless_they_would_be_too_short(clustered: EmbeddingTable) -> None:
    index = FaissIndex.build(clustered, FaissConfig())
    assert index.terrain.lists == 1800 // 39
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((30_000, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    large = EmbeddingTable(IdMap.of(map(str, range(30_000))), vectors, "tower")
    assert FaissIndex.build(large, FaissConfig()).terrain.lists == int(4 * 30_000**0.5)


def test_too_many_lists_are_refused(clustered: EmbeddingTable) -> None:
    with pytest.raises(ConfigError, match="nlist = 1801 exceeds the 1800 vectors"):
        FaissIndex.build(clustered, FaissConfig(nlist=1801))


def test_a_missing_file_and_a_file_of_another_table_are_refused(clustered: EmbeddingTable, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no index file .*gone\.faiss"):
        FaissIndex.open(tmp_path / "gone.faiss", clustered)
    FaissIndex.build(clustered, FaissConfig(kind="flat")).save(tmp_path / "index.faiss")
    for other in (clustered.vectors[:1999], clustered.vectors[:, :8]):
        vectors = other / np.maximum(np.linalg.norm(other, axis=1, keepdims=True), 1e-9)
        table = EmbeddingTable(IdMap.of(map(str, range(len(other)))), vectors, "tower")
        with pytest.raises(ArtifactError, match="was not built from this table"):
            FaissIndex.open(tmp_path / "index.faiss", table)


def test_a_query_gets_k_rows_however_few_lists_it_was_to_read(clustered: EmbeddingTable) -> None:
    index = FaissIndex.build(clustered, FaissConfig(nlist=40, nprobe=1))
    answers = index.search_traced(clustered.vectors[1:4], 1000)
    assert (answers.rows != NO_ROW).all()
    assert min(answers.trace.breadths) > 1
    short = index.search_traced(clustered.vectors[1:4], 3)
    assert short.trace.breadths == [1, 1, 1]


def test_the_trace_names_the_way_of_each_query() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((400, 16))[np.arange(40_000) % 400]  # close to 400 centres
    vectors += 0.1 * generator.standard_normal((40_000, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    vectors[::10] = 0
    table = EmbeddingTable(IdMap.of(map(str, range(40_000))), vectors, "tower")
    index = FaissIndex.build(table, FaissConfig(nlist=400, nprobe=1))
    queries = vectors[1:4]
    assert index.search_traced(queries, 3).trace.ways == ["everything"] * 3
    most = np.arange(40_000) < 39_000
    assert index.search_traced(queries, 3, Selection(most)).trace.ways == ["selector"] * 3
    rare = np.arange(40_000) % 4000 == 1
    trace = index.search_traced(queries, 3, Selection(rare)).trace
    assert str(trace) == "3 by matching rows among 10 rows"
    seen = [np.arange(size, dtype=np.int32) for size in (2, DROPPED + 1, 39_995)]
    trace = index.search_traced(queries, 3, Selection(None, seen)).trace
    assert trace.ways == ["over-fetch", "selector", "matching rows"]
    assert trace.matching == [36_000, 36_000 - len([row for row in range(DROPPED + 1) if row % 10]), 5]


@pytest.mark.parametrize("kind", ["ivf_flat", "hnsw"])
def test_recall_under_a_filter_is_as_without(clustered: EmbeddingTable, kind: str) -> None:
    """With a filter that has nothing to do with the vectors, and with one that keeps a few far clusters only."""
    index = FaissIndex.build(clustered, FaissConfig(kind=kind, nlist=40, nprobe=6, ef_search=40))
    exact = ExactIndex(clustered)
    queries = clustered.vectors[1:2000:20]
    far = np.zeros(2000, np.bool_)
    far[np.argsort(clustered.vectors @ queries[0])[:400]] = True

    def recall(selection: Selection | None) -> float:
        found, _ = index.search(queries, 10, selection)
        truth, _ = exact.search(queries, 10, selection)
        return float((found[:, :, None] == truth[:, None, :]).any(axis=1).mean())

    without = recall(None)
    assert 0.7 < without < 1
    for mask in (np.random.default_rng(1).random(2000) < 0.3, far):
        assert recall(Selection(mask)) >= without - 0.02
