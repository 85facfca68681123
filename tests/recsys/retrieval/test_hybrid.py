from __future__ import annotations

import numpy as np
import pytest

from recsys.evaluation.judgements import Judgements
from recsys.retrieval.fusion import reciprocal_rank_fusion, score_fusion
from recsys.retrieval.hybrid import DENSE, SHARES, fit_share, hybrid_search
from recsys.retrieval.lexical import WORDS
from recsys.types import NO_ROW, Candidates

QUERIES, DEPTH = 30, 20


def drawn(source: str, seed: int) -> Candidates:
    random = np.random.default_rng(seed)
    rows = np.stack([random.permutation(60)[:DEPTH] for _ in range(QUERIES)]).astype(np.int32)
    return Candidates(rows, -np.sort(-random.random((QUERIES, DEPTH)).astype(np.float32), axis=1), source)


@pytest.fixture
def lists() -> tuple[Candidates, Candidates]:
    return drawn(WORDS, 1), drawn(DENSE, 2)


def test_a_share_weighs_scores_and_none_adds_ranks(lists: tuple[Candidates, Candidates]) -> None:
    weighed, ranked = hybrid_search(*lists, 10, 0.3), hybrid_search(*lists, 10, None)
    expected = score_fusion(lists, 10, {WORDS: 0.3, DENSE: 0.7}, {WORDS: 0})
    np.testing.assert_array_equal(weighed.scores, expected.scores)
    np.testing.assert_array_equal(ranked.scores, reciprocal_rank_fusion(lists, 10).scores)
    assert (weighed.rows != ranked.rows).any()


def test_neither_source_is_silenced(lists: tuple[Candidates, Candidates]) -> None:
    words, dense = lists
    alone = Judgements.of(words.rows[:, :10].tolist(), [list(range(10, 0, -1))] * QUERIES)
    assert fit_share(words, dense, alone).share == 0.95
    nothing = Candidates(np.full_like(words.rows, NO_ROW), np.full_like(words.scores, -np.inf), WORDS)
    np.testing.assert_array_equal(hybrid_search(nothing, dense, 10, 0.95).rows, dense.rows[:, :10])


@pytest.mark.parametrize("right", [0, 1])
def test_the_source_that_is_always_right_gets_the_weight(lists: tuple[Candidates, Candidates], right: int) -> None:
    """Its first five are relevant in this order; the other source knows nothing of them."""
    judgements = Judgements.of(lists[right].rows[:, :5].tolist(), [[5, 4, 3, 2, 1]] * QUERIES)
    fitted = fit_share(*lists, judgements)
    assert (fitted.share > 0.5) == (right == 0)
    assert fitted.curve[1 - right] == pytest.approx(1)
    assert fitted.curve[right] < 0.5


def test_the_share_that_made_the_truth_is_found(lists: tuple[Candidates, Candidates]) -> None:
    judgements = Judgements.of(hybrid_search(*lists, 10, 0.35).rows.tolist(), [list(range(10, 0, -1))] * QUERIES)
    fitted = fit_share(*lists, judgements)
    assert fitted.share == 0.35
    assert tuple(fitted.curve) == SHARES
    assert fitted.curve[0.35] == pytest.approx(1) == max(fitted.curve.values())


def test_where_nothing_speaks_for_either_they_weigh_the_same(lists: tuple[Candidates, Candidates]) -> None:
    nobody_finds = Judgements.of([[1000]] * QUERIES)
    assert fit_share(*lists, nobody_finds).share == 0.5


def test_queries_without_a_relevant_item_do_not_count(lists: tuple[Candidates, Candidates]) -> None:
    relevant = [[int(row)] for row in lists[0].rows[:, 0]]
    whole = fit_share(*lists, Judgements.of(relevant))
    some = [items if query % 2 else [] for query, items in enumerate(relevant)]
    kept = fit_share(*lists, Judgements.of(some))
    assert whole.curve[1] == kept.curve[1] == 1
