from __future__ import annotations

import numpy as np
import pytest

from recsys.embeddings.table import EmbeddingTable
from recsys.index import exact
from recsys.index.exact import ExactIndex
from recsys.types import NO_ROW, IdMap


def table_of(vectors: np.ndarray) -> EmbeddingTable:
    return EmbeddingTable(IdMap.of(map(str, range(len(vectors)))), vectors.astype(np.float32), "tower")


def test_ties_across_blocks_go_to_the_lower_row() -> None:
    rows = exact.VECTORS_PER_BLOCK + 500
    vectors = np.zeros((rows, 2))
    vectors[:, 1] = 1  # everything is the same...
    vectors[[7, exact.VECTORS_PER_BLOCK + 3]] = [1, 0]  # ...but one row in each block
    vectors[[0, exact.VECTORS_PER_BLOCK]] = 0  # and one in each has no vector
    found, scores = ExactIndex(table_of(vectors)).search(np.float32([[0.8, 0.6]]), 6)
    assert found.tolist() == [[7, exact.VECTORS_PER_BLOCK + 3, 1, 2, 3, 4]]
    np.testing.assert_allclose(scores, [[0.8, 0.8, 0.6, 0.6, 0.6, 0.6]], atol=1e-6)


def test_a_later_block_displaces_an_earlier_one() -> None:
    generator = np.random.default_rng(1)
    vectors = generator.standard_normal((2 * exact.VECTORS_PER_BLOCK + 9, 4))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    queries = vectors[-3:]
    found, _ = ExactIndex(table_of(vectors)).search(queries, 15)
    np.testing.assert_array_equal(found, np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :15])
    assert found[:, 0].tolist() == [len(vectors) - 3, len(vectors) - 2, len(vectors) - 1]


def test_a_table_of_zeros_answers_nothing() -> None:
    found, scores = ExactIndex(table_of(np.zeros((3, 2)))).search(np.float32([[1, 0]]), 2)
    assert found.tolist() == [[NO_ROW, NO_ROW]]
    assert np.isneginf(scores).all()


def test_negative_inner_products_are_answers_too() -> None:
    found, scores = ExactIndex(table_of(np.array([[-1.0, 0], [0, 0]]))).search(np.float32([[1, 0]]), 2)
    assert found.tolist() == [[0, NO_ROW]]
    assert scores.tolist() == [[-1.0, -np.inf]]


@pytest.mark.parametrize("k", [1, 5])
def test_a_memory_mapped_table_gives_the_same_answer(tmp_path, k: int) -> None:
    vectors = np.eye(5, dtype=np.float32)
    table = table_of(vectors)
    table.save(tmp_path)
    mapped = ExactIndex(EmbeddingTable.open(tmp_path)).search(vectors, k)
    np.testing.assert_array_equal(mapped[0], ExactIndex(table).search(vectors, k)[0])
    assert mapped[0][:, 0].tolist() == [0, 1, 2, 3, 4]
