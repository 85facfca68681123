"""One contract for every index: the same known answers, the same refusals, under every selection."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import ArtifactError
from recsys.index import routes
from recsys.index.ann import DROPPED, FaissConfig, FaissIndex
from recsys.index.base import VectorIndex
from recsys.index.exact import ExactIndex
from recsys.index.kinds import Kind
from recsys.index.selection import Selection
from recsys.types import NO_ROW, IdMap

Build = Callable[[EmbeddingTable], VectorIndex]
TOLERANCE = {"ivf_fp16": 1e-3, "hnsw": 1e-3, "ivf_pq": 1e-3, "ivf_sq8": 0.02, "rabitq": 0.02}  # of a score
RECALL = {"ivf_fp16": 0.98, "hnsw": 0.97, "ivf_pq": 0.98, "ivf_sq8": 0.9, "rabitq": 0.9}  # the others: 1
KINDS = ["exact", *get_args(Kind)]
every_kind = pytest.mark.parametrize("kind", KINDS)


def build(kind: str, table: EmbeddingTable) -> VectorIndex:
    """With an effort that leaves no list unread and lets the refining codes decide."""
    if kind == "exact":
        return ExactIndex(table)
    lists = min(4, max(1, np.count_nonzero(table.vectors.any(axis=1))))
    return FaissIndex.build(table, FaissConfig(kind=kind, nlist=lists, nprobe=lists, ef_search=200, refine=300))


def table_of(vectors: np.ndarray) -> EmbeddingTable:
    return EmbeddingTable(IdMap.of(f"i{row}" for row in range(len(vectors))), vectors.astype(np.float32), "tower-a")


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def directions() -> EmbeddingTable:
    """Six vectors in the plane at 0, 90, 180, 30, (zero), 30 degrees."""
    angles = np.radians([0, 90, 180, 30, 0, 30])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).round(12)  # exact zeros, exact ties
    vectors[4] = 0
    return table_of(vectors)


@pytest.fixture(scope="module")
def scattered() -> EmbeddingTable:
    """2,000 vectors without clusters; every 50th item has no vector, and row 1501 is row 3 again."""
    vectors = unit(np.random.default_rng(5).standard_normal((2000, 16)))
    vectors[::50] = 0
    vectors[1501] = vectors[3]
    return table_of(vectors)


@pytest.fixture(scope="module")
def indexes(scattered: EmbeddingTable) -> dict[str, VectorIndex]:
    return {kind: build(kind, scattered) for kind in KINDS}


def assert_answers(
    kind: str, table: EmbeddingTable, queries: np.ndarray, k: int, selection: Selection | None, index: VectorIndex
) -> None:
    """As a full sort: as many rows as there are, only what may be returned, nothing twice, and the right ones."""
    rows, scores = index.search(queries, k, selection)
    assert rows.shape == scores.shape == (len(queries), k)
    assert (rows.dtype, scores.dtype) == (np.int32, np.float32)
    chosen = selection or Selection()
    hits = wanted = 0
    for query in range(len(queries)):
        may = chosen.mask(query, len(table.ids)) & table.vectors.any(axis=1)
        truth = np.where(may, table.vectors @ queries[query], -np.inf)
        expected = np.sort(truth)[::-1][: min(k, may.sum())]
        found = rows[query][rows[query] != NO_ROW]
        assert len(found) == len(expected) == len(np.unique(found))
        assert (rows[query][len(found) :] == NO_ROW).all()
        assert np.isneginf(scores[query][len(found) :]).all()
        assert may[found].all()
        assert (np.diff(scores[query][: len(found)]) <= 0).all()
        np.testing.assert_allclose(scores[query][: len(found)], truth[found], atol=TOLERANCE.get(kind, 1e-6))
        hits += (truth[found] >= expected[-1] - 1e-6).sum() if len(expected) else 0
        wanted += len(expected)
    assert hits >= RECALL.get(kind, 1) * wanted


@every_kind
def test_known_answer_ties_to_the_lower_row_and_no_zero_vector(kind: str) -> None:
    rows, scores = build(kind, directions()).search(np.float32([[1, 0], [0, 1]]), 7)
    assert rows.dtype == np.int32
    assert rows.tolist() == [[0, 3, 5, 1, 2, NO_ROW, NO_ROW], [1, 3, 5, 0, 2, NO_ROW, NO_ROW]]
    half, root = 0.5, np.sqrt(3) / 2
    expected = [[1, root, root, 0, -1, -np.inf, -np.inf], [1, half, half, 0, 0, -np.inf, -np.inf]]
    np.testing.assert_allclose(scores, expected, atol=TOLERANCE.get(kind, 1e-6))


@every_kind
@pytest.mark.parametrize("k", [1, 20, 2100])
def test_agrees_with_a_full_sort(kind: str, k: int, indexes: dict[str, VectorIndex], scattered: EmbeddingTable) -> None:
    queries = unit(np.random.default_rng(6).standard_normal((40, 16)))
    assert_answers(kind, scattered, queries, k, None, indexes[kind])


@pytest.fixture(params=["KEEP", "TEST"], ids=["by bitmap", "by comparing"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes one of the two ways to heed a filter seem too dear, however small the table."""
    monkeypatch.setattr(routes, request.param, 1e12)


@every_kind
@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.1, 1])
@pytest.mark.parametrize("sizes", [None, (0, 3, DROPPED), (1, DROPPED + 1, 1900)], ids=["alone", "few", "many"])
def test_filters_and_exclusions(
    kind: str,
    share: float,
    sizes: tuple[int, ...] | None,
    indexes: dict[str, VectorIndex],
    scattered: EmbeddingTable,
) -> None:
    generator = np.random.default_rng(7)
    queries = unit(generator.standard_normal((6, 16)))
    allowed = np.zeros(2000, np.bool_)
    allowed[generator.permutation(2000)[: int(2000 * share)]] = True
    excluded = None
    if sizes is not None:
        nearest = np.argsort(-queries @ scattered.vectors.T, axis=1)  # what a user has seen is near
        excluded = [nearest[query, : sizes[query % 3]].astype(np.int32) for query in range(6)]
    assert_answers(kind, scattered, queries, 10, Selection(allowed, excluded), indexes[kind])
    if share == 1:
        assert_answers(kind, scattered, queries, 10, Selection(None, excluded), indexes[kind])


@every_kind
@pytest.mark.usefixtures("way")
def test_an_excluded_row_may_be_named_twice_or_have_no_vector(
    kind: str, indexes: dict[str, VectorIndex], scattered: EmbeddingTable
) -> None:
    seen = np.int32([3, 3, 50, 1999])
    rows, scores = indexes[kind].search(scattered.vectors[[3]], 1, Selection(None, [seen]))
    assert rows.tolist() == [[1501]]  # the same vector in another row
    np.testing.assert_allclose(scores, 1, atol=TOLERANCE.get(kind, 1e-6))


@every_kind
@pytest.mark.usefixtures("way")
def test_a_batch_answers_as_its_queries_do_alone(
    kind: str, indexes: dict[str, VectorIndex], scattered: EmbeddingTable
) -> None:
    generator = np.random.default_rng(8)
    queries = unit(generator.standard_normal((9, 16)))
    allowed = generator.random(2000) < 0.6
    excluded = [generator.choice(2000, size, replace=False).astype(np.int32) for size in (0, 5, 50) * 3]
    for selection in (None, Selection(allowed), Selection(allowed, excluded)):
        together, _ = indexes[kind].search(queries, 10, selection)
        for query in range(9):
            one = slice(query, query + 1)
            alone, _ = indexes[kind].search(queries[one], 10, selection and selection.of(one))
            assert len(np.intersect1d(alone, together[query])) >= (10 if kind not in TOLERANCE else 9)


@every_kind
@pytest.mark.usefixtures("way")
def test_searches_at_the_same_time_do_not_disturb_each_other(
    kind: str, indexes: dict[str, VectorIndex], scattered: EmbeddingTable
) -> None:
    generator = np.random.default_rng(9)
    queries = unit(generator.standard_normal((5, 16)))
    work = [(k, Selection(generator.random(2000) < share)) for k, share in [(3, 0.9), (10, 0.5), (30, 0.02)] * 8]
    one_by_one = [indexes[kind].search(queries, *job)[0] for job in work]
    with ThreadPoolExecutor(4) as pool:
        at_once = pool.map(lambda job: indexes[kind].search(queries, *job)[0], work)
    for before, after in zip(one_by_one, at_once, strict=True):
        np.testing.assert_array_equal(before, after)


def test_saved_indexes_answer_the_same_in_another_process(
    indexes: dict[str, FaissIndex], scattered: EmbeddingTable, tmp_path: Path
) -> None:
    scattered.save(tmp_path / "table")
    script = """
import sys
from pathlib import Path
import numpy as np
from recsys.embeddings.table import EmbeddingTable
from recsys.index.ann import FaissIndex
from recsys.index.selection import Selection
folder = Path(sys.argv[1])
table = EmbeddingTable.open(folder / "table")
for file in folder.glob("*.faiss"):
    index = FaissIndex.open(file, table)
    plain = index.search(table.vectors[1:8], 12)
    chosen = index.search(table.vectors[1:8], 12, Selection(np.arange(2000) % 3 > 0))
    effort = [index.effort.breadth, index.effort.refine]
    np.savez(folder / f"{file.stem}.npz", rows=plain[0], scores=plain[1], chosen=chosen[0], effort=effort)
"""
    for kind in get_args(Kind):
        indexes[kind].save(tmp_path / f"{kind}.faiss")
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    for kind in get_args(Kind):
        found = np.load(tmp_path / f"{kind}.npz")
        rows, scores = indexes[kind].search(scattered.vectors[1:8], 12)
        chosen, _ = indexes[kind].search(scattered.vectors[1:8], 12, Selection(np.arange(2000) % 3 > 0))
        np.testing.assert_array_equal(found["rows"], rows, kind)
        np.testing.assert_array_equal(found["scores"], scores, kind)
        np.testing.assert_array_equal(found["chosen"], chosen, kind)
        assert found["effort"].tolist() == [indexes[kind].effort.breadth, indexes[kind].effort.refine]


@every_kind
def test_length_counts_zero_vectors_too(kind: str) -> None:
    assert len(build(kind, directions())) == 6


@every_kind
@pytest.mark.parametrize("rows", [0, 3])
def test_an_index_of_nothing_answers_nothing(kind: str, rows: int) -> None:
    index = build(kind, table_of(np.zeros((rows, 4))))
    allowed = Selection(np.ones(rows, np.bool_), [np.arange(rows, dtype=np.int32)])
    for selection in (None, allowed):
        found, scores = index.search(unit(np.ones((1, 4))), 2, selection)
        assert found.tolist() == [[NO_ROW, NO_ROW]]
        assert np.isneginf(scores).all()


@every_kind
def test_one_vector_is_found_again(kind: str) -> None:
    rows, scores = build(kind, table_of(np.eye(4)[:1])).search(np.eye(4, dtype=np.float32)[:1], 2)
    assert rows.tolist() == [[0, NO_ROW]]
    np.testing.assert_allclose(scores, [[1, -np.inf]], atol=TOLERANCE.get(kind, 1e-6))


@every_kind
def test_vectors_that_are_not_unit_are_refused_by_name(kind: str) -> None:
    with pytest.raises(ArtifactError, match="'i1' has length 2"):
        build(kind, table_of(np.array([[1.0, 0], [0, 2], [0, 1]])))
    with pytest.raises(ArtifactError, match="'i2' has length nan"):
        build(kind, table_of(np.array([[1.0, 0], [0, 1], [np.nan, 1]])))


@every_kind
def test_queries_that_cannot_be_answered_are_refused(kind: str) -> None:
    index = build(kind, directions())
    with pytest.raises(ArtifactError, match=r"\(1, 3\) do not fit an index of width 2"):
        index.search(np.ones((1, 3), np.float32), 1)
    with pytest.raises(ArtifactError, match="Query 1 is not finite"):
        index.search(np.float32([[1, 0], [np.inf, 0]]), 1)


@every_kind
def test_no_queries_no_answers(kind: str) -> None:
    index = build(kind, directions())
    for selection in (None, Selection(np.ones(6, np.bool_)), Selection(None, [])):
        rows, scores = index.search(np.empty((0, 2), np.float32), 3, selection)
        assert rows.shape == scores.shape == (0, 3)
