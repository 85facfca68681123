"""Reciprocal rank fusion: one list of candidates from several, by ranks alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from recsys.exceptions import ConfigError
from recsys.types import NO_ROW, Candidates

FUSED = "fused"
RANK_CONSTANT = 60.0
"""Damps the lead of the first ranks (Cormack et al., 2009)."""


def reciprocal_rank_fusion(
    lists: Sequence[Candidates], k: int, weights: Mapping[str, float] | None = None, constant: float = RANK_CONSTANT
) -> Candidates:
    """The k best by the sum over sources of weight / (constant + rank), rank 1 = the best (Cormack et al., 2009).

    Args:
        lists: candidates of the same n requests, one per source.
        k: length of the result, which is shorter where the sources found less.
        weights: by source name; 1 where not given.
        constant: damps the lead of the first ranks.

    Raises:
        ConfigError: nothing to fuse, or a weight for a source that is not there.
    """
    weights = weights or {}
    unknown = sorted(set(weights) - {candidates.source for candidates in lists})
    if not lists or unknown:
        raise ConfigError(
            f"No candidates of source {unknown[0]!r}." if unknown else "There are no candidate lists to fuse.",
            f"Sources here: {[candidates.source for candidates in lists]}.",
        )
    requests, rows, gains = [], [], []
    for candidates in lists:
        request, rank = np.nonzero(candidates.rows != NO_ROW)
        requests.append(request)
        rows.append(candidates.rows[request, rank])
        gains.append(weights.get(candidates.source, 1.0) / (constant + 1 + rank))
    n = len(lists[0])
    span = max((int(found.max()) for found in rows if len(found)), default=0) + 1
    keys, inverse = np.unique(np.concatenate(requests) * span + np.concatenate(rows), return_inverse=True)
    scores = np.bincount(inverse, np.concatenate(gains), len(keys)).astype(np.float32)
    request, row = keys // span, keys % span
    order = np.lexsort((row, -scores, request))
    request, row, scores = request[order], row[order], scores[order]
    rank = np.arange(len(request)) - np.searchsorted(request, request, side="left")
    inside = rank < k
    fused = Candidates(np.full((n, k), NO_ROW, np.int32), np.full((n, k), -np.inf, np.float32), FUSED)
    fused.rows[request[inside], rank[inside]] = row[inside]
    fused.scores[request[inside], rank[inside]] = scores[inside]
    return fused
