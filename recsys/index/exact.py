"""ExactIndex: every vector compared with every query, a block at a time. The oracle of the other indexes."""

from __future__ import annotations

import numpy as np

from recsys.embeddings.table import EmbeddingTable, check_unit
from recsys.index.base import check_queries
from recsys.index.selection import Mask, Selection
from recsys.types import NO_ROW, FloatArray, RowArray

QUERIES_PER_BLOCK = 256
VECTORS_PER_BLOCK = 16384


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
        self._blank = np.asarray(~table.vectors.any(axis=1))

    @classmethod
    def over(cls, vectors: FloatArray, filled: Mask) -> ExactIndex:
        """An index over vectors that were checked before.

        Args:
            vectors: ``[n, d]``, unit length or zero.
            filled: ``[n]``, rows that may be returned; none of them is zero.
        """
        index = cls.__new__(cls)
        index._vectors, index._blank = vectors, ~filled
        return index

    def __len__(self) -> int:
        return len(self._vectors)

    def search(self, queries: FloatArray, k: int, selection: Selection | None = None) -> tuple[RowArray, FloatArray]:
        """See :meth:`recsys.index.base.VectorIndex.search`."""
        check_queries(queries, self._vectors.shape[1])
        rows = np.full((len(queries), k), NO_ROW, np.int32)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        for start in range(0, len(queries), QUERIES_PER_BLOCK):
            block = slice(start, start + QUERIES_PER_BLOCK)
            chosen = Selection() if selection is None else selection.of(block)
            rows[block], scores[block] = self._search_block(queries[block], k, chosen)
        return rows, scores

    def _search_block(self, queries: FloatArray, k: int, selection: Selection) -> tuple[RowArray, FloatArray]:
        asking, gone = selection.excluded_pairs
        rows = np.full((len(queries), k), NO_ROW, np.int32)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        for start in range(0, len(self), VECTORS_PER_BLOCK):
            block = slice(start, start + VECTORS_PER_BLOCK)
            products = queries @ np.asarray(self._vectors[block]).T
            products[:, self._blank[block]] = -np.inf
            if selection.allowed is not None:
                products[:, ~selection.allowed[block]] = -np.inf
            first, last = np.searchsorted(gone, [start, start + VECTORS_PER_BLOCK])
            products[asking[first:last], gone[first:last] - start] = -np.inf
            rows, scores = _merge(rows, scores, products, start)
        return rows, scores


def _merge(rows: RowArray, scores: FloatArray, products: FloatArray, start: int) -> tuple[RowArray, FloatArray]:
    """Best k of the best so far ``[q, k]`` and a block of inner products ``[q, b]`` whose first row is ``start``."""
    k = rows.shape[1]
    hopeful = products > scores[:, -1:]  # an equal product of a higher row loses
    if start == 0 and products.shape[1] > k:
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
    all_rows[query, slot] = column + start
    all_scores[query, slot] = products[query, column]
    best = np.argsort(-all_scores, axis=1, kind="stable")[:, :k]  # columns ascend by row, so stable = lower row first
    return np.take_along_axis(all_rows, best, axis=1), np.take_along_axis(all_scores, best, axis=1)
