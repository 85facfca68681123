"""Features from item vectors: how much a candidate resembles what the user engaged with, per table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from recsys.embeddings.table import EmbeddingTable
from recsys.features.requests import RankingRequests
from recsys.types import NO_ROW, FloatArray


class ContentSimilarity:
    """Cosines of the candidate with the user's recent items, three per table.

    ``mean``: with the mean of the last items' vectors; ``max``: with the nearest of them; ``newest``: with the newest
    one. NaN where either side has no vector (a note without a picture), so that "unlike" and "unknown" stay apart.

    Args:
        tables: by the name their features carry, e.g. fused, text, image; all over the same catalogue.
        last: number of recent items.
    """

    def __init__(self, tables: Mapping[str, EmbeddingTable], last: int = 10) -> None:
        self.tables = dict(tables)
        self.last = last
        self.names = [f"{what}:{table}" for table in tables for what in ("mean", "max", "newest")]

    def compute(self, requests: RankingRequests) -> FloatArray:
        recent, _ = requests.histories.recent(self.last)
        columns = [_similarities(table, recent, requests.rows) for table in self.tables.values()]
        return np.concatenate(columns, axis=-1) if columns else np.empty((*requests.rows.shape, 0), np.float32)


def _similarities(table: EmbeddingTable, recent: np.ndarray, rows: np.ndarray) -> FloatArray:
    """Mean, max and newest cosine, ``[n, m, 3]``; recent items ``[n, last]`` newest first."""
    result = np.full((*rows.shape, 3), np.nan, np.float32)
    for request in range(len(rows)):  # one small matrix product each: no [n, m, width] in memory
        past = np.asarray(table.vectors[recent[request][recent[request] != NO_ROW]])
        known = np.linalg.norm(past, axis=1) > 0
        if not known.any():
            continue
        items = np.asarray(table.vectors[np.maximum(rows[request], 0)])
        cosines = items @ past.T
        mean = past[known].mean(axis=0)
        result[request, :, 0] = items @ (mean / max(float(np.linalg.norm(mean)), 1e-6))
        result[request, :, 1] = cosines[:, known].max(axis=1)
        if known[0]:
            result[request, :, 2] = cosines[:, 0]
        result[request, np.linalg.norm(items, axis=1) == 0] = np.nan
    return result
