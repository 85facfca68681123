"""One contract for every index: the same known answers, the same refusals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import ArtifactError
from recsys.index.ann import FaissConfig, FaissIndex
from recsys.index.base import VectorIndex
from recsys.index.exact import ExactIndex
from recsys.types import NO_ROW, IdMap

Build = Callable[[EmbeddingTable], VectorIndex]
KINDS: dict[str, Build] = {
    "exact": ExactIndex,
    "flat": lambda table: FaissIndex.build(table, FaissConfig(kind="flat")),
    "ivf, all lists": lambda table: FaissIndex.build(table, FaissConfig(nlist=4, nprobe=4)),
}
every_kind = pytest.mark.parametrize("build", KINDS.values(), ids=KINDS.keys())


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


@every_kind
def test_known_answer_ties_to_the_lower_row_and_no_zero_vector(build: Build) -> None:
    rows, scores = build(directions()).search(np.float32([[1, 0], [0, 1]]), 7)
    assert rows.dtype == np.int32
    assert rows.tolist() == [[0, 3, 5, 1, 2, NO_ROW, NO_ROW], [1, 3, 5, 0, 2, NO_ROW, NO_ROW]]
    half, root = 0.5, np.sqrt(3) / 2
    expected = [[1, root, root, 0, -1, -np.inf, -np.inf], [1, half, half, 0, 0, -np.inf, -np.inf]]
    np.testing.assert_allclose(scores, expected, atol=1e-6)


@every_kind
def test_agrees_with_a_full_sort(build: Build) -> None:
    generator = np.random.default_rng(5)
    table = table_of(unit(generator.standard_normal((700, 12))))
    queries = unit(generator.standard_normal((300, 12)))
    products = queries @ table.vectors.T
    rows, scores = build(table).search(queries, 20)
    np.testing.assert_array_equal(rows, np.argsort(-products, axis=1)[:, :20])
    np.testing.assert_allclose(scores, -np.sort(-products, axis=1)[:, :20], atol=1e-6)


@every_kind
def test_length_counts_zero_vectors_too(build: Build) -> None:
    assert len(build(directions())) == 6


@every_kind
def test_vectors_that_are_not_unit_are_refused_by_name(build: Build) -> None:
    with pytest.raises(ArtifactError, match="'i1' has length 2"):
        build(table_of(np.array([[1.0, 0], [0, 2], [0, 1]])))
    with pytest.raises(ArtifactError, match="'i2' has length nan"):
        build(table_of(np.array([[1.0, 0], [0, 1], [np.nan, 1]])))


@every_kind
def test_queries_that_cannot_be_answered_are_refused(build: Build) -> None:
    index = build(directions())
    with pytest.raises(ArtifactError, match=r"\(1, 3\) do not fit an index of width 2"):
        index.search(np.ones((1, 3), np.float32), 1)
    with pytest.raises(ArtifactError, match="Query 1 is not finite"):
        index.search(np.float32([[1, 0], [np.inf, 0]]), 1)


@every_kind
def test_no_queries_no_answers(build: Build) -> None:
    rows, scores = build(directions()).search(np.empty((0, 2), np.float32), 3)
    assert rows.shape == scores.shape == (0, 3)
