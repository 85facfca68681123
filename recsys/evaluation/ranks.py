"""Ranks of right answers among all others, fair where scores tie: a tie is won as often as chance would win it.

The usual argsort gives tied items the order they happen to stand in, so that a tower which maps everything to one point
can look perfect. Here an answer tied with t others stands at each of their positions with equal probability, and a
figure is the expectation over them (as ``contrib/evaluation.py`` of FAISS compares neighbours when distances tie).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.evaluation.judgements import Judgements
from recsys.evaluation.metrics import Values
from recsys.exceptions import DataError
from recsys.types import FloatArray

TIE = 1e-6
"""Scores closer than this are equal: the rounding of a float32 inner product of unit vectors."""
SCORES_PER_BLOCK = 2**24

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class BestRanks:
    """Where the best right answer of each of n requests stands; a request without one is not among the best at any k.

    Attributes:
        better: wrong items that score higher than it, ``[n]``.
        tied_wrong: wrong items that score the same, ``[n]``.
        tied_right: right items that score the same, itself included, ``[n]``; 0 where nothing is right.
    """

    better: Counts
    tied_wrong: Counts
    tied_right: Counts

    @classmethod
    def by_chance(cls, right: Judgements, n_items: int) -> BestRanks:
        """What scores that say nothing give: everything is tied."""
        count = _right_per_request(right)
        return cls(np.zeros(len(right), np.int64), n_items - count, count)

    def hits(self, k: int) -> Values:
        """Probability that a right answer is among the first k, ``[n]``; ``nan`` where nothing is right.

        With b better items, k - b of the w + r tied ones are shown, drawn at random: 1 - C(w, k-b) / C(w+r, k-b).
        """
        places = k - self.better
        missed = np.ones(len(self.better))
        for drawn in range(k):
            left_wrong = np.maximum(self.tied_wrong - drawn, 0)
            left = np.maximum(self.tied_wrong + self.tied_right - drawn, 1)
            missed *= np.where(drawn < places, left_wrong / left, 1)
        return np.where(self.tied_right > 0, 1 - missed, np.nan)


@dataclass(frozen=True, eq=False)
class PairRanks:
    """Where each right answer of n requests stands.

    Attributes:
        requests: the request of each answer, int64 ``[total]``.
        better: other items that score higher, right or wrong, ``[total]``.
        tied: items that score the same, itself included, ``[total]``.
        n: number of requests.
    """

    requests: Counts
    better: Counts
    tied: Counts
    n: int

    def recall(self, k: int, among: npt.NDArray[np.bool_] | None = None) -> Values:
        """Expected share of a request's right answers among the first k, ``[n]``; ``nan`` where nothing is right.

        Args:
            k: cut-off.
            among: answers that count, bool ``[total]``; default: all.
        """
        found = np.clip((k - self.better) / self.tied, 0, 1)
        chosen = np.ones(len(found), np.bool_) if among is None else among
        total = np.bincount(self.requests[chosen], minlength=self.n)
        hits = np.bincount(self.requests[chosen], weights=found[chosen], minlength=self.n)
        return np.where(total > 0, hits / np.maximum(total, 1), np.nan)


def best_ranks(queries: FloatArray, gallery: FloatArray, right: Judgements) -> BestRanks:
    """Rank the best right answer of each request by inner product, in memory that does not grow with n x m.

    Args:
        queries: ``[n, d]``.
        gallery: ``[m, d]``, may be memory-mapped; a row of zeros is found by nothing.
        right: item rows of each request's right answers; grades are not looked at.

    Raises:
        DataError: a query is not finite, or requests and queries differ in number.
    """
    counts = np.zeros((3, len(queries)), np.int64)
    for rows, scores in _score_blocks(queries, gallery, right):
        request, item = _answers(right, rows)
        if not len(request):
            continue
        own = np.full(len(scores), np.inf, np.float32)  # nothing is better than nothing
        given = np.unique(request)
        own[given] = np.maximum.reduceat(scores[request, item], np.searchsorted(request, given))
        right_scores = scores[request, item]
        same = np.bincount(request, weights=right_scores >= own[request] - TIE, minlength=len(scores)).astype(np.int64)
        scores[request, item] = np.nan  # neither better nor tied
        better = (scores > own[:, None] + TIE).sum(axis=1)
        counts[0, rows] = better
        counts[1, rows] = (scores >= own[:, None] - TIE).sum(axis=1) - better
        counts[2, rows] = same
    return BestRanks(*counts)


def pair_ranks(
    queries: FloatArray, gallery: FloatArray, right: Judgements, hidden: Judgements | None = None
) -> PairRanks:
    """Rank every right answer of each request by inner product; see :func:`best_ranks`.

    Args:
        queries: ``[n, d]``.
        gallery: ``[m, d]``.
        right: item rows of each request's right answers.
        hidden: item rows that do not compete, such as the item that was asked for; none of them is right.
    """
    better, tied = np.zeros((2, len(right.items)), np.int64)
    for rows, scores in _score_blocks(queries, gallery, right):
        if hidden is not None:
            scores[_answers(hidden, rows)] = np.nan
        request, item = _answers(right, rows)
        start = right.offsets[rows.start]
        step = max(1, SCORES_PER_BLOCK // scores.shape[1])
        for first in range(0, len(request), step):
            part = slice(first, first + step)
            others = scores[request[part]]
            own = scores[request[part], item[part]][:, None]
            above = (others > own + TIE).sum(axis=1)
            place = slice(start + first, start + first + len(above))
            better[place] = above
            tied[place] = (others >= own - TIE).sum(axis=1) - above
    return PairRanks(right.requests, better, tied, len(right))


def _score_blocks(
    queries: FloatArray, gallery: FloatArray, right: Judgements
) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
    if len(right) != len(queries):
        raise DataError(f"{len(queries)} queries for {len(right)} judged requests.", "Give one vector per request.")
    if not np.isfinite(queries).all():
        raise DataError("A query vector is not finite.", "Encode the queries again; the tower's weights may be broken.")
    gallery = np.asarray(gallery)
    blank = ~gallery.any(axis=1)
    step = max(1, SCORES_PER_BLOCK // max(1, len(gallery)))
    for start in range(0, len(queries), step):
        rows = slice(start, min(start + step, len(queries)))
        scores = (queries[rows] @ gallery.T).astype(np.float32, copy=False)
        scores[:, blank] = -np.inf
        yield rows, scores


def _answers(judged: Judgements, rows: slice) -> tuple[Counts, npt.NDArray[np.int32]]:
    """(request inside the block, item) of the block's judged pairs."""
    offsets = judged.offsets[rows.start : rows.stop + 1]
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)), judged.items[offsets[0] : offsets[-1]]


def _right_per_request(right: Judgements) -> Counts:
    return np.diff(right.offsets)
