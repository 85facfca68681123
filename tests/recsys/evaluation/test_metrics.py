from __future__ import annotations

import math

import numpy as np
import pytest

from recsys.evaluation.judgements import Judgements, judge
from recsys.evaluation.metrics import METRICS, measure
from recsys.exceptions import ConfigError
from recsys.types import NO_ROW

NAMES = ["recall@1", "recall@3", "hr@1", "hr@3", "ndcg@3", "map@1", "map@3", "mrr@1", "mrr@3"]


def test_hand_computed_values() -> None:
    # Request 0: five relevant items graded 3, 2, 1, 1, 1; the one graded 2 is listed first, the one graded 3 third.
    # Request 1: one relevant item at position 2. Request 2: relevant, but not listed. Request 3: nothing is relevant.
    judgements = Judgements.of([[10, 11, 12, 13, 14], [20], [30], []], [[3, 2, 1, 1, 1], [1], [1], []])
    lists = judge(np.int32([[11, 50, 10], [51, 20, 52], [53, 54, NO_ROW], [55, 56, 57]]), judgements, 3)
    values = {name: column.round(6).tolist()[:3] for name, column in measure(lists, NAMES).items()}
    log2_3, log2_4 = math.log2(3), 2.0
    graded = (3 / 1 + 7 / log2_4) / (7 / 1 + 3 / log2_3 + 1 / log2_4)
    expected = {
        "recall@1": [1 / 5, 0, 0],
        "recall@3": [2 / 5, 1, 0],
        "hr@1": [1, 0, 0],
        "hr@3": [1, 1, 0],
        "ndcg@3": [graded, 1 / log2_3, 0],
        "map@1": [1, 0, 0],
        "map@3": [(1 + 2 / 3) / 3, 1 / 2, 0],
        "mrr@1": [1, 0, 0],
        "mrr@3": [1, 1 / 2, 0],
    }
    for name, column in expected.items():
        assert values[name] == pytest.approx(column, abs=1e-6), name


@pytest.mark.parametrize("name", METRICS)
def test_a_request_without_relevant_items_has_no_value(name: str) -> None:
    lists = judge(np.int32([[1], [2]]), Judgements.of([[1], []]), 5)
    values = METRICS[name](lists, 5)
    assert values[0] == 1
    assert np.isnan(values[1])


def test_agrees_with_loops_over_random_lists() -> None:
    generator = np.random.default_rng(11)
    n, items, depth = 200, 30, 12
    listed = np.stack([generator.permutation(items)[:depth] for _ in range(n)]).astype(np.int32)
    relevant = [generator.permutation(items)[: generator.integers(0, 15)] for _ in range(n)]
    grades = [generator.integers(0, 4, len(chosen)) for chosen in relevant]
    lists = judge(listed, Judgements.of(relevant, grades), depth)
    for k in (1, 5, 12):
        got = measure(lists, [f"{metric}@{k}" for metric in METRICS])
        for request in range(n):
            truth = dict(zip(relevant[request].tolist(), grades[request].tolist(), strict=True))
            expected = slow_metrics([truth.get(int(row), 0) for row in listed[request]], list(truth.values()), k)
            for metric, value in expected.items():
                assert got[f"{metric}@{k}"][request] == pytest.approx(value, nan_ok=True), (metric, k, request)


def slow_metrics(grades: list[int], judged: list[int], k: int) -> dict[str, float]:
    """The definitions, word by word, for one request."""
    total = sum(grade > 0 for grade in judged)
    if not total:
        return dict.fromkeys(METRICS, math.nan)
    hits, dcg, precision, first = 0, 0.0, 0.0, 0
    for position, grade in enumerate(grades[:k], start=1):
        dcg += (2**grade - 1) / math.log2(position + 1)
        if grade:
            hits += 1
            precision += hits / position
            first = first or position
    best = sorted(judged, reverse=True)[:k]
    ideal = sum((2**grade - 1) / math.log2(position + 1) for position, grade in enumerate(best, start=1))
    return {
        "recall": hits / total,
        "hr": float(hits > 0),
        "ndcg": dcg / ideal,
        "map": precision / min(total, k),
        "mrr": 1 / first if first else 0.0,
    }


@pytest.mark.parametrize("name", ["recal@10", "recall", "recall@", "ndcg@0", "ndcg@-1"])
def test_unknown_metrics_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"no metric '{name}'"):
        measure(judge(np.int32([[1]]), Judgements.of([[1]]), 1), [name])
