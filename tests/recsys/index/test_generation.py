from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import FingerprintMismatchError
from recsys.index import routes
from recsys.index.ann import FaissConfig, FaissIndex
from recsys.index.exact import ExactIndex
from recsys.index.generation import IndexConfig, IndexGeneration, build_generation, recall_against_exact
from recsys.index.recall import recall, true_scores
from recsys.index.selection import Selection
from recsys.types import IdMap


@pytest.fixture(scope="module")
def table() -> EmbeddingTable:
    generator = np.random.default_rng(9)
    vectors = generator.standard_normal((3000, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    vectors[5] = 0
    return EmbeddingTable(IdMap.of(f"note-{row}" for row in range(3000)), vectors, "tower-a")


@pytest.mark.parametrize("kind", ["exact", "faiss"])
def test_an_opened_generation_finds_items_by_id(table: EmbeddingTable, tmp_path: Path, kind: str) -> None:
    build_generation(table, IndexConfig(kind=kind), tmp_path)
    generation = IndexGeneration.open(tmp_path)
    rows, scores = generation.search(table.vectors[[17, 2999]], 3, "tower-a")
    assert [generation.ids.externals(found)[0] for found in rows] == ["note-17", "note-2999"]
    np.testing.assert_allclose(scores[:, 0], 1, atol=1e-6)


def test_another_towers_queries_are_refused(table: EmbeddingTable, tmp_path: Path) -> None:
    build_generation(table, IndexConfig(), tmp_path)
    with pytest.raises(FingerprintMismatchError) as caught:
        IndexGeneration.open(tmp_path).search(table.vectors[:1], 3, "tower-b")
    assert (caught.value.expected, caught.value.actual) == ("tower-a", "tower-b")


def test_recall_is_measured_and_kept(table: EmbeddingTable, tmp_path: Path) -> None:
    metrics = build_generation(table, IndexConfig(kind="faiss", faiss=FaissConfig(nlist=50, nprobe=2)), tmp_path)
    assert (metrics["rows"], metrics["indexed"]) == (3000, 2999)
    assert 0.2 < metrics["recall@50"] < metrics["recall@10"] < 0.95
    assert IndexGeneration.open(tmp_path).metrics == metrics
    every = build_generation(table, IndexConfig(kind="faiss", faiss=FaissConfig(nlist=50, nprobe=50)), tmp_path)
    assert every["recall@10"] == every["recall@50"] == 1


def test_recall_agrees_with_counting_neighbours_by_hand(table: EmbeddingTable) -> None:
    index, exact = FaissIndex.build(table, FaissConfig(nlist=50, nprobe=2)), ExactIndex(table)
    queries = np.arange(100, 160, dtype=np.int32)
    hits = 0
    for query in queries:
        found = [row for row in index.search(table.vectors[[query]], 11)[0][0] if row != query][:10]
        truth = [row for row in exact.search(table.vectors[[query]], 11)[0][0] if row != query]
        hits += len(set(found) & set(truth))
    assert recall_against_exact(index, exact, table, queries)["recall@10"] == pytest.approx(hits / 600)


def test_a_filtered_search_reads_for_the_recall_target_of_its_generation(
    table: EmbeddingTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "KEEP", 1e12)  # comparing all matching rows seems too dear
    queries, chosen = table.vectors[100:200], Selection(np.random.default_rng(2).random(3000) < 0.5)
    _, truth = ExactIndex(table).search(queries, 10, chosen)
    reached = []
    for target in (0.5, 1.0):
        config = IndexConfig(kind="faiss", recall_target=target, faiss=FaissConfig(nlist=50, nprobe=1))
        build_generation(table, config, tmp_path / str(target))
        rows, _ = IndexGeneration.open(tmp_path / str(target)).search(queries, 10, "tower-a", chosen)
        reached.append(recall(true_scores(table.vectors, queries, rows), truth))
    assert 0.5 < reached[0] < 0.95
    assert reached[1] == 1


def test_auto_is_exact_below_its_bound_and_faiss_from_it_on(table: EmbeddingTable, tmp_path: Path) -> None:
    for bound, kind in [(3001, "exact"), (3000, "ivf_fp16")]:
        build_generation(table, IndexConfig(exact_below=bound), tmp_path)
        made = json.loads((tmp_path / "generation.json").read_text())
        assert made["kind"] == kind
        assert made["reason"].startswith("3,000 vectors of width 8")
    assert IndexConfig().choice(49_999, 64).kind == "exact"
    assert IndexConfig().choice(50_000, 64).kind == "ivf_fp16"


def test_a_built_index_is_tuned_to_the_target_unless_its_effort_is_given(table: EmbeddingTable, tmp_path: Path) -> None:
    efforts = []
    for target in (0.5, 0.9):
        build_generation(table, IndexConfig(exact_below=0, recall_target=target, k=20), tmp_path)
        tuning = json.loads((tmp_path / "generation.json").read_text())["tuning"]
        assert (tuning["parameter"], tuning["k"], tuning["target"]) == ("nprobe", 20, target)
        assert tuning["chosen"]["recall"] >= target
        assert all(point["recall"] < target for point in tuning["points"][:-1])
        efforts.append(IndexGeneration.open(tmp_path).index.effort.breadth)
        assert efforts[-1] == tuning["chosen"]["breadth"]
    assert 1 <= efforts[0] < efforts[1]
    build_generation(table, IndexConfig(kind="faiss", faiss=FaissConfig(nprobe=3)), tmp_path)
    assert "tuning" not in json.loads((tmp_path / "generation.json").read_text())
    assert IndexGeneration.open(tmp_path).index.effort.breadth == 3


def test_a_rebuild_in_a_half_filled_directory_gives_the_same_files(table: EmbeddingTable, tmp_path: Path) -> None:
    config = IndexConfig(kind="faiss", faiss=FaissConfig(nprobe=4))  # a tuned one holds times, which differ
    fresh, resumed = tmp_path / "fresh", tmp_path / "resumed"
    (resumed / "table").mkdir(parents=True)
    (resumed / "table" / "vectors.npy").write_bytes(b"half")
    (resumed / "index.faiss").write_bytes(b"half")
    build_generation(table, config, fresh)
    build_generation(table, config, resumed)
    files = sorted(file.relative_to(fresh) for file in fresh.rglob("*") if file.is_file())
    assert [str(file) for file in files] == [
        "generation.json",
        "index.faiss",
        "table/ids.arrow",
        "table/table.json",
        "table/vectors.npy",
    ]
    for file in files:
        assert (fresh / file).read_bytes() == (resumed / file).read_bytes(), file
