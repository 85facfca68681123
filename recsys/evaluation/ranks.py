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

RANKS = ("better", "tied_wrong", "tied_right")

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
        count = np.diff(right.offsets)
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
    parts = [ranks_of_scores(scores, part) for _, scores, part in _score_blocks(queries, gallery, right)]
    return BestRanks(
        *(np.concatenate([np.zeros(0, np.int64), *(getattr(part, name) for part in parts)]) for name in RANKS)
    )


def ranks_of_scores(scores: npt.NDArray[np.floating], right: Judgements) -> BestRanks:
    """The same from scores ``[n, m]``, which are overwritten."""
    better, tied_wrong, tied_right = np.zeros((3, len(scores)), np.int64)
    request, item = right.requests, right.items
    if len(request):
        own = np.full(len(scores), np.inf, scores.dtype)  # nothing is better than nothing
        given = np.unique(request)
        answers = scores[request, item]
        own[given] = np.maximum.reduceat(answers, np.searchsorted(request, given))
        tied_right = np.bincount(request[answers >= own[request] - TIE], minlength=len(scores))
        scores[request, item] = np.nan  # neither better nor tied
        better = (scores > own[:, None] + TIE).sum(axis=1)
        tied_wrong = (scores >= own[:, None] - TIE).sum(axis=1) - better
    return BestRanks(better, tied_wrong, tied_right)


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
    done = 0
    for rows, scores, part in _score_blocks(queries, gallery, right):
        if hidden is not None:
            of_block = hidden.between(rows.start, rows.stop)
            scores[of_block.requests, of_block.items] = np.nan
        step = max(1, SCORES_PER_BLOCK // scores.shape[1])
        for start in range(0, len(part.items), step):
            request, item = part.requests[start : start + step], part.items[start : start + step]
            own = scores[request, item][:, None]
            others = scores[request]
            place = slice(done, done + len(request))
            better[place] = (others > own + TIE).sum(axis=1)
            tied[place] = (others >= own - TIE).sum(axis=1) - better[place]
            done += len(request)
    return PairRanks(right.requests, better, tied, len(right))


def _score_blocks(
    queries: FloatArray, gallery: FloatArray, right: Judgements
) -> Iterator[tuple[slice, npt.NDArray[np.float32], Judgements]]:
    """Rows, their scores and their judgements, a block of requests at a time."""
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
        yield rows, scores, right.between(rows.start, rows.stop)
