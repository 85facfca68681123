"""Features from candidate sources: what each source thinks of each candidate, whoever retrieved it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.features.requests import RankingRequests
from recsys.retrieval.base import CandidateSource
from recsys.types import FloatArray


class SourceFeatures:
    """The score of each source, 0 without evidence; on request also where it places the candidate among the others.

    Standings are two more features a source: ``rank``, log(1 + candidates with a greater score), and ``share`` of the
    best score. Only fit for a ranker that is trained and used on candidate lists made in the same way: a rank of 3
    among ten shown items says something else than a rank of 3 among two hundred retrieved ones.

    Args:
        sources: any sources, also ones that retrieve nothing for this ranker.
        standings: whether to add them.
    """

    def __init__(self, sources: Sequence[CandidateSource], standings: bool) -> None:
        self.sources = list(sources)
        self.standings = standings
        kinds = ("score", "rank", "share") if standings else ("score",)
        self.names = [f"{kind}:{source.name}" for source in sources for kind in kinds]

    def compute(self, requests: RankingRequests) -> FloatArray:
        columns = []
        for source in self.sources:
            scores = source.score(requests.histories, requests.rows if source.knows_new_items else requests.met)
            columns.append(scores)
            if self.standings:
                among = np.where(requests.padded, -np.inf, scores)
                columns += [np.log1p(competition_ranks(among)), _share_of_best(among)]
        return np.stack(columns, axis=-1)


def competition_ranks(scores: FloatArray) -> FloatArray:
    """How many values of the same row are greater, float32 ``[n, m]`` (0 = the best)."""
    order = np.argsort(-scores, axis=1, kind="stable")
    ordered = np.take_along_axis(scores, order, axis=1)
    place = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    new = np.ones(scores.shape, np.bool_)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.maximum.accumulate(np.where(new, place, 0), axis=1)
    ranks = np.empty(scores.shape, np.float32)
    np.put_along_axis(ranks, order, first.astype(np.float32), axis=1)
    return ranks


def _share_of_best(scores: FloatArray) -> FloatArray:
    best = scores.max(axis=1, keepdims=True)
    shares = np.where(np.isfinite(scores), scores, 0) / np.where(best > 0, best, 1)
    return np.where(best > 0, shares, 0).astype(np.float32)
