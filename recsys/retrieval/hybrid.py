"""Hybrid text search: what the words find and what the vectors find, fused; how much to trust which is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field

from recsys.config import BaseConfig
from recsys.evaluation.judgements import Judgements, judge
from recsys.evaluation.metrics import ndcg
from recsys.retrieval.fusion import Fused, reciprocal_rank_fusion, score_fusion
from recsys.retrieval.lexical import WORDS
from recsys.types import Candidates

DENSE = "dense"
"""Name of the source that compares the query's vector with those of the items."""
SHARES = tuple(round(0.05 * step, 2) for step in range(21))
CUT_OFF = 10


class HybridConfig(BaseConfig):
    """How two lists become one."""

    depth: int = Field(200, ge=1)  # candidates of each source; scores are compared within them
    share: float | None = Field(
        None, ge=0, le=1
    )  # of the words in the sum of scores; default: fitted to judged queries


@dataclass(frozen=True)
class FittedShare:
    """The share of the words that serves the judged queries best, and NDCG@10 of every share that was tried.

    The curve starts with the vectors alone (share 0) and ends with the words alone (share 1).
    """

    share: float
    curve: Mapping[float, float]


def hybrid_search(words: Candidates, dense: Candidates, k: int, share: float | None) -> Fused:
    """The k best of what words and vectors found for the same queries.

    Args:
        words: found by :class:`recsys.retrieval.lexical.LexicalIndex`, source ``words``.
        dense: found by vectors, source ``dense``.
        k: how many.
        share: of the words in the sum of scores, as from :func:`fit_share`; ``None`` adds up reciprocal ranks, which
            need no fitting.
    """
    if share is None:
        return reciprocal_rank_fusion([words, dense], k)
    return score_fusion([words, dense], k, {WORDS: share, DENSE: 1 - share}, floors={WORDS: 0.0})


def fit_share(words: Candidates, dense: Candidates, judgements: Judgements) -> FittedShare:
    """The share with the highest mean NDCG@10 over judged queries; of equal ones the most even.

    Neither source is silenced: each must answer where the other finds nothing.

    Args:
        words: see :func:`hybrid_search`.
        dense: see there.
        judgements: of the same queries; at least one has a relevant item.
    """
    curve = {}
    for share in SHARES:
        lists = judge(hybrid_search(words, dense, CUT_OFF, share).rows, judgements, CUT_OFF)
        curve[share] = float(ndcg(lists, CUT_OFF)[lists.relevant > 0].mean())
    best = max(SHARES[1:-1], key=lambda share: (round(curve[share], 6), -abs(share - 0.5)))
    return FittedShare(best, curve)
