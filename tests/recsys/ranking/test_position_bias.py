from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from recsys.ranking.position_bias import PositionAdjustedLikelihood
from recsys.ranking.training_set import TrainingSet


def logged(n: int, m: int, seed: int) -> tuple[TrainingSet, np.ndarray, np.ndarray]:
    """One click a slate, by relevance and position; positions follow ``early``, which says nothing of relevance."""
    generator = np.random.default_rng(seed)
    relevance, early = generator.standard_normal((2, n, m))
    positions = np.argsort(np.argsort(-early, axis=1), axis=1)
    utility = relevance - 1.5 * np.log1p(positions) + generator.gumbel(size=(n, m))
    labels = (utility == utility.max(axis=1, keepdims=True)).astype(np.int8)
    groups = np.full(n, m, np.int32)
    unused = np.empty((n * m, 0), np.float32)
    examples = TrainingSet([], unused, labels.ravel(), groups, positions.ravel().astype(np.int32), "impressions")
    return examples, relevance.ravel(), early.ravel()


def test_equals_a_general_optimiser() -> None:
    examples, relevance, _ = logged(60, 4, seed=0)
    assert examples.positions is not None
    positions = examples.positions

    def loss(parameters: np.ndarray) -> float:
        logits = (parameters[0] * relevance + np.append(0, parameters[1:])[positions]).reshape(60, 4)
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return -float(logs[examples.labels.reshape(60, 4) == 1].mean())

    best = minimize(loss, np.zeros(4)).fun
    likelihood = PositionAdjustedLikelihood(examples)
    for _ in range(3):
        value = likelihood(relevance)
    assert value == pytest.approx(-best, abs=1e-4)


def test_prefers_relevance_where_clicks_alone_prefer_the_logged_order() -> None:
    examples, relevance, early = logged(800, 6, seed=1)
    likelihood = PositionAdjustedLikelihood(examples)
    clicked = examples.labels.reshape(800, 6) == 1

    def mean_rank(scores: np.ndarray) -> float:
        table = scores.reshape(800, 6)
        return float((table > table[clicked][:, None]).sum(axis=1).mean())

    assert mean_rank(early) < mean_rank(relevance)
    assert likelihood(relevance) > likelihood(early) + 0.1
    assert likelihood(relevance) > likelihood(relevance + 0.5 * early) + 0.01
