from __future__ import annotations

import math

import numpy as np
import pytest

from recsys.evaluation.judgements import NO_LABEL
from recsys.evaluation.ranking import evaluate_ranking
from recsys.exceptions import ConfigError

LABELS = np.float32([[0, 2, 1], [1, 0, NO_LABEL], [0, 0, 0]])
SYSTEMS = {
    "logged order": np.float32([[3, 2, 1]] * 3),
    "reversed": np.float32([[1, 2, 3]] * 3),
    "oracle": LABELS,
}


def test_known_slates() -> None:
    results = {row.system: row for row in evaluate_ranking(LABELS, SYSTEMS, "logged order")}
    log2_3 = math.log2(3)
    ideal = 3 + 1 / log2_3
    ndcg = {
        "logged order": ((3 / log2_3 + 1 / 2) / ideal + 1) / 2,
        "reversed": ((1 + 3 / log2_3) / ideal + 1 / log2_3) / 2,
        "oracle": 1.0,
    }
    for system, value in ndcg.items():
        assert results[system].metrics["ndcg@10"].value == pytest.approx(value), system
        assert (results[system].n, results[system].excluded) == (2, 1)
    assert results["logged order"].metrics["mrr@10"].value == pytest.approx(3 / 4)
    assert results["logged order"].metrics["map@10"].value == pytest.approx(((1 / 2 + 2 / 3) / 2 + 1) / 2)
    assert results["oracle"].lift["ndcg@10"].value == pytest.approx(1 / ndcg["logged order"] - 1)
    assert results["logged order"].lift == {}


def test_intervals_of_the_lift_are_paired_and_clustered() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, (400, 8)).astype(np.float32)
    noise = generator.normal(size=labels.shape).astype(np.float32)
    systems = {"noise": noise, "signal": noise + labels}
    users = np.repeat(np.arange(100), 4)
    lift = evaluate_ranking(labels, systems, "noise", clusters=users)[1].lift["ndcg@10"]
    assert 0.1 < lift.low < lift.value < lift.high < 0.6


def test_an_unknown_baseline_is_refused() -> None:
    with pytest.raises(ConfigError, match="'ranker' is not among the systems logged order, reversed, oracle"):
        evaluate_ranking(LABELS, SYSTEMS, "ranker")
