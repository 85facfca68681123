"""ExactIndex: every vector compared with every query, a block at a time. The oracle of the other indexes."""

from __future__ import annotations

import numpy as np

from recsys.embeddings.table import EmbeddingTable, check_unit
from recsys.index.base import check_queries
from recsys.index.selection import Mask, Selection
from recsys.types import NO_ROW, FloatArray, RowArray

QUERIES_PER_BLOCK = 256
VECTORS_PER_BLOCK = 16384
SPARSE = 0.4  # of a stretch of rows: below that share, copying the wanted ones is quicker than comparing them all


class ExactIndex:
    """Brute force over a table, which may be memory-mapped and larger than memory.

    Equal inner products go to the lower row. Zero vectors are never returned.

    Args:
        table: the vectors.

    Raises:
        ArtifactError: a vector is neither of unit length nor zero.
    """

    def __init__(self, table: EmbeddingTable) -> None:
        check_unit(table.vectors, table.ids)
        self._vectors = table.vectors
        self._rows = np.flatnonzero(table.vectors.any(axis=1)).astype(np.int32)

    @classmethod
    def over(cls, vectors: FloatArray, filled: Mask) -> ExactIndex:
        """An index over vectors that were checked before.

        Args:
            vectors: ``[n, d]``, unit length or zero.
            filled: ``[n]``, rows that may be returned; none of them is zero.
        """
        index = cls.__new__(cls)
        index._vectors, index._rows = vectors, np.flatnonzero(filled).astype(np.int32)
        return index

    def __len__(self) -> int:
        return len(self._vectors)

    def search(self, queries: FloatArray, k: int, selection: Selection | None = None) -> tuple[RowArray, FloatArray]:
        """See :meth:`recsys.index.base.VectorIndex.search`."""
        check_queries(queries, self._vectors.shape[1])
        chosen = selection or Selection()
        wanted = self._rows if chosen.allowed is None else self._rows[chosen.allowed[self._rows]]
        return nearest_among(self._vectors, wanted, queries, k, chosen)


def nearest_among(
    vectors: FloatArray, wanted: RowArray, queries: FloatArray, k: int, selection: Selection
) -> tuple[RowArray, FloatArray]:
    """The k nearest of some rows, by comparing all of them.

    Args:
        vectors: of the whole table.
        wanted: rows to compare with, ascending.
        queries: float32 ``[q, d]``.
        k: number of neighbours.
        selection: whose exclusions hold; its ``allowed`` is not looked at.

    Returns:
        As :meth:`recsys.index.base.VectorIndex.search`.
    """
    rows = np.full((len(queries), k), NO_ROW, np.int32)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    for start in range(0, len(queries), QUERIES_PER_BLOCK):
        block = slice(start, start + QUERIES_PER_BLOCK)
        asking, gone = selection.of(block).excluded_pairs
        for first in range(0, len(wanted), VECTORS_PER_BLOCK):
            chunk = wanted[first : first + VECTORS_PER_BLOCK]
            products = _products(vectors, chunk, queries[block])
            begin, end = np.searchsorted(gone, [chunk[0], chunk[-1] + 1])
            column = np.searchsorted(chunk, gone[begin:end])
            inside = chunk[column] == gone[begin:end]
            products[asking[begin:end][inside], column[inside]] = -np.inf
            rows[block], scores[block] = _merge(rows[block], scores[block], products, chunk)
    return rows, scores


def _products(vectors: FloatArray, chunk: RowArray, queries: FloatArray) -> FloatArray:
    """Inner products ``[q, b]`` of the queries with the rows of a chunk."""
    stretch = vectors[chunk[0] : chunk[-1] + 1]
    if len(chunk) < SPARSE * len(stretch):
        return queries @ vectors[chunk].T
    products: FloatArray = queries @ np.asarray(stretch).T
    return products if len(chunk) == len(stretch) else products[:, chunk - chunk[0]]


def _merge(rows: RowArray, scores: FloatArray, products: FloatArray, chunk: RowArray) -> tuple[RowArray, FloatArray]:
    """Best k of the best so far ``[q, k]`` and the inner products ``[q, b]`` with later rows."""
    k = rows.shape[1]
    hopeful = products > scores[:, -1:]  # an equal product of a higher row loses
    if k < products.shape[1] and (rows == NO_ROW).all():
        hopeful &= products >= np.partition(products, -k, axis=1)[:, -k, None]
    query, column = np.nonzero(hopeful)
    if not len(query):
        return rows, scores
    counts = np.bincount(query, minlength=len(rows))
    slot = k + np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
    width = k + int(counts.max())
    all_rows = np.full((len(rows), width), NO_ROW, np.int32)
    all_scores = np.full((len(rows), width), -np.inf, np.float32)
    all_rows[:, :k], all_scores[:, :k] = rows, scores
    all_rows[query, slot] = chunk[column]
    all_scores[query, slot] = products[query, column]
    best = np.argsort(-all_scores, axis=1, kind="stable")[:, :k]  # columns ascend by row, so stable = lower row first
    return np.take_along_axis(all_rows, best, axis=1), np.take_along_axis(all_scores, best, axis=1)
