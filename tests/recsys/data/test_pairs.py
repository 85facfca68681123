from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys import schemas
from recsys.data.interactions import Interactions
from recsys.data.pairs import PairConfig, mine_pairs, transition_scores
from recsys.types import IdMap


def interactions(histories: list[list[str]], items: list[str]) -> Interactions:
    events = pl.DataFrame(
        [
            {schemas.USER_ID: f"u{u}", schemas.ITEM_ID: item, schemas.EVENT_TYPE: "click", schemas.ORDER: order}
            for u, history in enumerate(histories)
            for order, item in enumerate(history)
        ]
    ).with_columns(pl.lit(None, pl.Datetime("ms", "UTC")).alias(schemas.TIMESTAMP))
    return Interactions.of(events, IdMap.of(items))


def test_three_users_with_2_10_and_4_items_give_085() -> None:
    """The worked example of NoteLLM (2403.01744): 1/2 + 1/10 + 1/4."""
    others = [f"x{i}" for i in range(12)]
    log = interactions([["A", "B"], ["A", "B", *others[:8]], [others[9], "A", "B", others[10]]], ["A", "B", *others])
    scores = transition_scores(log, window=1)
    assert scores[0, 1] == pytest.approx(0.85)
    assert scores[1, 0] == 0.0


def test_window_bounds_how_far_b_may_follow() -> None:
    log = interactions([["A", "B", "C", "D"]], list("ABCD"))
    assert transition_scores(log, window=2)[[0, 0, 0], [1, 2, 3]] == pytest.approx([0.25, 0.25, 0.0])


def test_users_do_not_run_into_each_other() -> None:
    log = interactions([["A", "B"], ["C", "D"]], list("ABCD"))
    assert transition_scores(log, window=5)[1, 2] == 0.0


def test_bounds_and_top() -> None:
    log = interactions([["A", "B"], ["A", "B"], ["A", "C"], ["A", "D", "E"]], list("ABCDE"))
    best = mine_pairs(log, PairConfig(top=1))
    assert (best.a.tolist(), best.b.tolist()) == ([0, 3], [1, 4])  # A->B scores 1, D->E 1/3
    np.testing.assert_allclose(best.scores, [1.0, 1 / 3], rtol=1e-6)
    bounded = mine_pairs(log, PairConfig(lower=0.4, upper=0.9))
    assert (bounded.a.tolist(), bounded.b.tolist()) == ([0], [2])  # A->C 1/2; A->B is above, the rest below


def test_no_events_no_pairs() -> None:
    log = interactions([["A"]], ["A"])
    assert len(mine_pairs(log, PairConfig())) == 0


def test_a_config_survives_json() -> None:
    """It stands in the tower's manifest, where infinity could not."""
    assert PairConfig.model_validate_json(PairConfig().model_dump_json()) == PairConfig()
