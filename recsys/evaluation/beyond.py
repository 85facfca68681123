"""Beyond accuracy: how much of the catalogue is shown at all, and how different the items of one list are."""

from __future__ import annotations

import numpy as np

from recsys.evaluation.metrics import Values
from recsys.types import NO_ROW, FloatArray, RowArray

LISTS_PER_BLOCK = 4096


def coverage(rows: RowArray, n_items: int) -> float:
    """Share of the catalogue that occurs in at least one of the lists ``[n, k]``."""
    shown = np.unique(rows)
    return float((shown != NO_ROW).sum() / n_items)


def intra_list_diversity(rows: RowArray, vectors: FloatArray) -> Values:
    """One minus the mean cosine over all pairs of a list, ``[n]``; ``nan`` for lists with fewer than two items.

    Args:
        rows: item rows ``[n, k]``, padded with ``NO_ROW``.
        vectors: unit (or zero) item vectors ``[n_items, d]``.
    """
    diversity = np.full(len(rows), np.nan)
    for start in range(0, len(rows), LISTS_PER_BLOCK):
        block = rows[start : start + LISTS_PER_BLOCK]
        listed = block != NO_ROW
        chosen = np.where(listed[:, :, None], vectors[block], 0).astype(np.float64)
        count = listed.sum(axis=1)
        total = np.square(chosen.sum(axis=1)).sum(axis=1) - np.square(chosen).sum(axis=(1, 2))
        several = count > 1
        diversity[start : start + len(block)][several] = 1 - (total / np.maximum(count * (count - 1), 1))[several]
    return diversity
