from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys.exceptions import ArtifactError, ConfigError
from recsys.ranking.lightgbm_ranker import LightGBMRanker, LightGBMRankerConfig
from recsys.ranking.training_set import TrainingSet

NAMES = ["good", "shown_early", "noise"]
SLATE = 10
CONFIG = LightGBMRankerConfig(rounds=200, patience=20, leaves=7, min_rows_per_leaf=20, threads=1)


def relevance(features: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-1.5 * features[..., 0]))


def clicks(n: int, seed: int, bias: float) -> TrainingSet:
    """Slates ordered by ``shown_early``; a click needs relevance, of ``good``, and a look, (1 + position)^-bias."""
    generator = np.random.default_rng(seed)
    features = generator.standard_normal((n, SLATE, 3)).astype(np.float32)
    order = np.argsort(-(features[..., 1] + 0.7 * generator.standard_normal((n, SLATE))), axis=1)
    features = np.take_along_axis(features, order[..., None], axis=1)
    look = (1.0 + np.arange(SLATE)) ** -bias
    labels = (generator.random((n, SLATE)) < 0.6 * relevance(features) * look).astype(np.int8)
    positions = np.tile(np.arange(SLATE, dtype=np.int32), n)
    groups = np.full(n, SLATE, np.int32)
    return TrainingSet(NAMES, features.reshape(-1, 3), labels.ravel(), groups, positions, "impressions")


def ndcg(scores: np.ndarray, gains: np.ndarray) -> float:
    discount = 1 / np.log2(2 + np.arange(gains.shape[1]))
    got = (np.take_along_axis(gains, np.argsort(-scores, axis=1), axis=1) * discount).sum(axis=1)
    return float((got / (-np.sort(-gains, axis=1) * discount).sum(axis=1)).mean())


def fresh(seed: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((500, SLATE, 3)).astype(np.float32)


def test_learns_the_order_and_says_how() -> None:
    ranker, metrics = LightGBMRanker.fit(clicks(800, 0, bias=0), clicks(200, 1, bias=0), CONFIG)
    features = fresh()
    truth = relevance(features)
    assert ndcg(ranker.score(features), truth) > 0.99
    assert ndcg(features[..., 2], truth) < 0.9
    assert next(iter(metrics["importance"])) == "good"
    assert metrics["negatives"] == "impressions"
    assert (metrics["train_requests"], metrics["train_rows"], metrics["validation_requests"]) == (800, 8000, 200)


def test_positions_given_to_the_objective_recover_the_order() -> None:
    train, validation = clicks(2500, 0, bias=1.5), clicks(500, 1, bias=1.5)
    features = fresh()
    truth = relevance(features)
    scores = {}
    for unbiased in (False, True):
        config = CONFIG.model_copy(update={"unbiased": unbiased})
        ranker, metrics = LightGBMRanker.fit(train, validation, config)
        assert metrics["unbiased"] is unbiased
        scores[unbiased] = ndcg(ranker.score(features), truth)
    assert scores[True] > scores[False] + 0.04
    assert scores[True] > 0.97


def test_same_seed_same_trees_and_saving_changes_nothing(tmp_path: Path) -> None:
    train, validation = clicks(300, 0, bias=1), clicks(100, 1, bias=1)
    first, _ = LightGBMRanker.fit(train, validation, CONFIG)
    second, _ = LightGBMRanker.fit(train, validation, CONFIG)
    features = fresh()
    first.save(tmp_path)
    loaded = LightGBMRanker.load(tmp_path, NAMES)
    np.testing.assert_array_equal(second.score(features), first.score(features))
    np.testing.assert_array_equal(loaded.score(features), first.score(features))
    assert loaded.negatives == "impressions"


def test_padding_scores_below_everything_and_unknown_values_are_fine() -> None:
    ranker, _ = LightGBMRanker.fit(clicks(300, 0, bias=0), clicks(100, 1, bias=0), CONFIG)
    features = fresh()[:4]
    features[1, 3:] = np.nan
    features[2, 0, 2] = np.nan
    scores = ranker.score(features)
    assert np.isneginf(scores[1, 3:]).all()
    assert np.isfinite(scores[[0, 2, 3]]).all()
    assert np.isneginf(ranker.score(np.full((1, 2, 3), np.nan, np.float32))).all()


def test_refuses_other_features(tmp_path: Path) -> None:
    train = clicks(100, 0, bias=0)
    ranker, _ = LightGBMRanker.fit(train, train, CONFIG)
    ranker.save(tmp_path)
    with pytest.raises(ArtifactError, match=r"missing \['noise'\], unknown \['new'\]"):
        LightGBMRanker.load(tmp_path, ["good", "shown_early", "new"])
    with pytest.raises(ArtifactError, match="another order"):
        LightGBMRanker.load(tmp_path, NAMES[::-1])
    with pytest.raises(ConfigError, match="2 features for a ranker of 3"):
        ranker.score(np.zeros((1, 1, 2), np.float32))
