"""Fusion: one list of candidates from several sources, by their ranks or by their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from recsys.exceptions import ConfigError
from recsys.types import NO_ROW, Candidates, FloatArray

FUSED = "fused"
RANK_CONSTANT = 60.0
"""Damps the lead of the first ranks (Cormack et al., 2009)."""


@dataclass(frozen=True)
class Origin:
    """Where one source placed an item (1 = best), and the score it gave."""

    source: str
    rank: int
    score: float


@dataclass(frozen=True, eq=False)
class Fused(Candidates):
    """Candidates of several sources in one order, with the lists they came from.

    Attributes:
        lists: of the sources, for the same requests.
    """

    lists: tuple[Candidates, ...]

    def top(self, k: int) -> Fused:
        return replace(self, rows=self.rows[:, :k], scores=self.scores[:, :k])

    def origins(self, request: int, row: int) -> list[Origin]:
        """The sources that found an item for a request, those that place it highest first."""
        found = []
        for candidates in self.lists:
            places = np.flatnonzero(candidates.rows[request] == row)
            if len(places):
                score = float(candidates.scores[request, places[0]])
                found.append(Origin(candidates.source, int(places[0]) + 1, score))
        return sorted(found, key=lambda origin: (origin.rank, origin.source))


def reciprocal_rank_fusion(
    lists: Sequence[Candidates], k: int, weights: Mapping[str, float] | None = None, constant: float = RANK_CONSTANT
) -> Fused:
    """The k best by the sum over sources of weight / (constant + rank), rank 1 = the best (Cormack et al., 2009).

    Args:
        lists: candidates of the same n requests, one per source.
        k: length of the result, which is shorter where the sources found less.
        weights: by source name; 1 where not given.
        constant: damps the lead of the first ranks.

    Raises:
        ConfigError: nothing to fuse, or a weight for a source that is not there.
    """
    gains = [
        np.broadcast_to(weight / (constant + 1 + np.arange(candidates.rows.shape[1])), candidates.rows.shape)
        for candidates, weight in zip(lists, _weights(lists, weights), strict=True)
    ]
    return _best_sums(lists, gains, k)


def score_fusion(
    lists: Sequence[Candidates],
    k: int,
    weights: Mapping[str, float] | None = None,
    floors: Mapping[str, float] | None = None,
) -> Fused:
    """The k best by the sum over sources of weight * score, scores brought to [0, 1] within each list.

    1 is the best of a request's list, 0 its source's floor, as for an item that is not in the list. With weights fitted
    to a few judged queries such a convex combination beats ranks (Bruch et al., 2210.11934).

    Args:
        lists: candidates of the same n requests, one per source; lists of one depth, much deeper than k.
        k: length of the result, which is shorter where the sources found less.
        weights: by source name; 1 where not given.
        floors: by source name, the lowest score there can be; the lowest of each list where not given.

    Raises:
        ConfigError: nothing to fuse, or a weight for a source that is not there.
    """
    floors = floors or {}
    gains = [
        weight * _scaled(candidates.scores, floors.get(candidates.source))
        for candidates, weight in zip(lists, _weights(lists, weights), strict=True)
    ]
    return _best_sums(lists, gains, k)


def _weights(lists: Sequence[Candidates], weights: Mapping[str, float] | None) -> list[float]:
    """Weight of each list.

    Raises:
        ConfigError: see :func:`reciprocal_rank_fusion`.
    """
    weights = weights or {}
    sources = [candidates.source for candidates in lists]
    unknown = sorted(set(weights) - set(sources))
    if not lists or unknown:
        raise ConfigError(
            f"No candidates of source {unknown[0]!r}." if unknown else "There are no candidate lists to fuse.",
            f"Sources here: {sources}.",
        )
    return [weights.get(source, 1.0) for source in sources]


def _scaled(scores: FloatArray, floor: float | None) -> FloatArray:
    """Scores of each list from 0, the floor, to 1, its best; all 1 where these are one. Padding is never looked at."""
    there = np.isfinite(scores)
    high = np.where(there, scores, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    lowest = np.where(there, scores, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    low = lowest if floor is None else np.full_like(lowest, floor)
    spread = np.where(high > low, high - low, 1)
    above = np.subtract(scores, low, where=there & (high > low), out=there.astype(np.float32))
    return np.asarray(above / spread, dtype=np.float32)


def _best_sums(lists: Sequence[Candidates], gains: Sequence[FloatArray], k: int) -> Fused:
    """The k rows of each request with the highest sum of gains ``[n, depth]``; equal ones go to the lower row."""
    requests, rows, parts = [], [], []
    for candidates, gain in zip(lists, gains, strict=True):
        request, rank = np.nonzero(candidates.rows != NO_ROW)
        requests.append(request)
        rows.append(candidates.rows[request, rank])
        parts.append(gain[request, rank])
    n = len(lists[0])
    span = max((int(found.max()) for found in rows if len(found)), default=0) + 1
    keys, inverse = np.unique(np.concatenate(requests) * span + np.concatenate(rows), return_inverse=True)
    scores = np.bincount(inverse, np.concatenate(parts), len(keys)).astype(np.float32)
    request, row = keys // span, keys % span
    order = np.lexsort((row, -scores, request))
    request, row, scores = request[order], row[order], scores[order]
    rank = np.arange(len(request)) - np.searchsorted(request, request, side="left")
    inside = rank < k
    best_rows, best_scores = np.full((n, k), NO_ROW, np.int32), np.full((n, k), -np.inf, np.float32)
    best_rows[request[inside], rank[inside]] = row[inside]
    best_scores[request[inside], rank[inside]] = scores[inside]
    return Fused(best_rows, best_scores, FUSED, tuple(lists))
