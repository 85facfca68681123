"""Recall of found rows against exact search, fair to ties and to scores of coarser numbers."""

from __future__ import annotations

import numpy as np

from recsys.types import NO_ROW, FloatArray, RowArray

SCORE_TOLERANCE = 1e-6  # two libraries may differ by so much on one inner product
QUERIES_AT_ONCE = 64


def true_scores(vectors: FloatArray, queries: FloatArray, rows: RowArray) -> FloatArray:
    """Inner products ``[q, k]`` of queries with rows found for them, by the vectors themselves; ``-inf`` if padded."""
    scores = np.empty(rows.shape, np.float32)
    for start in range(0, len(rows), QUERIES_AT_ONCE):
        block = slice(start, start + QUERIES_AT_ONCE)
        found = np.asarray(vectors[np.maximum(rows[block], 0)])
        scores[block] = np.einsum("qd,qkd->qk", queries[block], found)
    scores[rows == NO_ROW] = -np.inf
    return scores


def recall(found: FloatArray, truth: FloatArray) -> float:
    """Share of the true neighbours that were found; 1 where there are none.

    A row counts as found when it is as near as the last true one, so ties do not depend on their order.

    Args:
        found: true scores of the rows found, ``[q, k]``, see :func:`true_scores`.
        truth: scores of the true neighbours, ``[q, k]``, ``-inf`` where there are fewer than k.
    """
    there = np.isfinite(truth)
    if not there.any():
        return 1.0
    worst = np.where(there, truth, np.inf).min(axis=1, keepdims=True)
    return float(np.minimum((found >= worst - SCORE_TOLERANCE).sum(axis=1), there.sum(axis=1)).sum() / there.sum())


def without_self(rows: RowArray, scores: FloatArray, queries: RowArray) -> FloatArray:
    """Scores ``[q, k - 1]`` with the query's own entry (or, where it was not found, the last entry) taken out."""
    own = rows == queries[:, None]
    last = np.arange(rows.shape[1]) == rows.shape[1] - 1
    drop = np.where(own.any(axis=1, keepdims=True), own, last)
    kept: FloatArray = scores[~drop].reshape(len(rows), -1)
    return kept
