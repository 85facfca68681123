"""Quota merge: one list in which every source has places of its own, so that none is crowded out by the others."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

import numpy as np

from recsys.exceptions import ConfigError
from recsys.retrieval.fusion import FUSED, RANK_CONSTANT, Fused
from recsys.types import NO_ROW, Candidates


def quota_merge(lists: Sequence[Candidates], k: int, quotas: Mapping[str, int]) -> Fused:
    """The k candidates that the sources put forward in turn, each in its own order.

    The turn goes to the source that has filled the smallest share of its places (the first of equals), and it puts
    forward its best candidate that is not there yet: any beginning of the list is divided as the whole. Places that a
    source cannot fill, and those that no quota claims, go round the sources that have candidates left in the same way.
    Scores say no more than the place: 1 / (60 + place), so that they read like those of reciprocal ranks.

    Args:
        lists: candidates of the same n requests, one per source.
        k: length of the result, which is shorter where the sources found less.
        quotas: places of every source, by its name; at least 1.

    Raises:
        ConfigError: nothing to merge, a source without a quota or a quota without a source, or more places than k.
    """
    sources = [candidates.source for candidates in lists]
    unlike = sorted(set(quotas) ^ set(sources))
    if not lists or unlike:
        raise ConfigError(
            f"Source {unlike[0]!r} has {'no candidates' if unlike[0] in quotas else 'no quota'}."
            if unlike
            else "There are no candidate lists to merge.",
            f"Give a quota to each of {sources}.",
        )
    if sum(quotas.values()) > k:
        raise ConfigError(f"The quotas ask for {sum(quotas.values())} places of {k}.", "Ask for fewer.")
    places = [quotas[source] for source in sources]
    rows = np.full((len(lists[0]), k), NO_ROW, np.int32)
    for request in range(len(rows)):
        merged = _merged([candidates.rows[request].tolist() for candidates in lists], k, places)
        rows[request, : len(merged)] = merged
    scores = np.where(rows == NO_ROW, -np.inf, 1 / (RANK_CONSTANT + 1 + np.arange(k))).astype(np.float32)
    return Fused(rows, scores, FUSED, tuple(lists))


def _merged(lists: Sequence[Sequence[int]], k: int, places: Sequence[int]) -> list[int]:
    """Rows of one request."""
    waiting = [iter(rows) for rows in lists]
    taken = [0] * len(lists)
    turns = [(*_turn(0, places[source]), source) for source in range(len(lists))]
    heapq.heapify(turns)
    there: dict[int, None] = {}
    while turns and len(there) < k:
        source = turns[0][-1]
        row = next((row for row in waiting[source] if row == NO_ROW or row not in there), NO_ROW)
        if row == NO_ROW:
            heapq.heappop(turns)
        else:
            there[row] = None
            taken[source] += 1
            heapq.heapreplace(turns, (*_turn(taken[source], places[source]), source))
    return list(there)


def _turn(taken: int, places: int) -> tuple[bool, float]:
    """When a source comes next, the least first: by its own places, then by what is left over."""
    return taken >= places, (taken + 1) / places
