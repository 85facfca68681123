from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np
import pytest
from pydantic import ValidationError

from recsys.exceptions import ArtifactError, ConfigError
from recsys.ranking.lightgbm_ranker import MODEL, LightGBMRanker, LightGBMRankerConfig
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


def test_scores_are_those_of_the_saved_booster(tmp_path: Path) -> None:
    ranker, _ = LightGBMRanker.fit(clicks(300, 0, bias=0), clicks(100, 1, bias=0), CONFIG)
    ranker.save(tmp_path)
    features = fresh()
    expected = lightgbm.Booster(model_file=tmp_path / MODEL).predict(features.reshape(-1, 3))
    np.testing.assert_array_equal(ranker.score(features).ravel(), expected.astype(np.float32))


def test_contributions_add_up_to_the_score_and_name_what_decided() -> None:
    ranker, _ = LightGBMRanker.fit(clicks(800, 0, bias=0), clicks(200, 1, bias=0), CONFIG)
    features = fresh()[:20]
    features[3, 7:] = np.nan
    parts = ranker.contributions(features)
    assert parts.shape == (20, SLATE, 4)
    there = ~np.isnan(features).all(axis=2)
    np.testing.assert_allclose(parts[there].sum(axis=1), ranker.score(features)[there], rtol=1e-5, atol=1e-6)
    assert np.isnan(parts[3, 7:]).all()
    good, shown_early, noise = np.abs(parts[there]).mean(axis=0)[:3]
    assert good > 3 * max(shown_early, noise)
    assert np.corrcoef(parts[there][:, 0], features[there][:, 0])[0, 1] > 0.9


def test_a_monotone_feature_never_turns_the_score_round() -> None:
    train, validation = clicks(300, 0, bias=0), clicks(100, 1, bias=0)
    grid = np.zeros((1, 400, 3), np.float32)
    grid[0, :, 2] = np.linspace(-3, 3, 400)  # the noise, of which trees learn ups and downs
    free, _ = LightGBMRanker.fit(train, validation, CONFIG.model_copy(update={"rounds": 40, "patience": None}))
    assert np.diff(free.score(grid)[0]).min() < 0 < np.diff(free.score(grid)[0]).max()
    for direction in (1, -1):
        config = CONFIG.model_copy(update={"rounds": 40, "patience": None, "monotone": {"noise": direction}})
        ranker, _ = LightGBMRanker.fit(train, validation, config)
        assert (direction * np.diff(ranker.score(grid)[0])).min() >= 0


def test_categories_have_no_order() -> None:
    generator = np.random.default_rng(0)
    category = generator.integers(0, 20, (600, SLATE))
    wanted = generator.permutation(20) >= 10
    labels = (wanted[category] & (generator.random(category.shape) < 0.5)).astype(np.int8).ravel()
    features = category[..., None].astype(np.float32).reshape(-1, 1)
    examples = TrainingSet(["topic"], features, labels, np.full(600, SLATE, np.int32), None, "retrieved")
    config = LightGBMRankerConfig(rounds=1, patience=None, leaves=2, categorical=("topic",), threads=1)
    ranker, _ = LightGBMRanker.fit(examples, examples, config)
    scores = ranker.score(np.arange(20, dtype=np.float32)[None, :, None])[0]
    assert scores[wanted].min() > scores[~wanted].max()  # one split tells them all apart


def test_early_stopping_hears_the_lowest_rank_and_reports_all() -> None:
    config = CONFIG.model_copy(update={"measured_at": (3, 1), "row_share": 0.8, "unbiased": False})
    _, metrics = LightGBMRanker.fit(clicks(300, 0, bias=0), clicks(100, 1, bias=0), config)
    assert set(metrics["validation"]) == {"ndcg@3", "ndcg@1"}
    assert metrics["validation_measure"] == "ndcg@1"
    assert metrics["validation_score"] == metrics["validation"]["ndcg@1"]
    assert metrics["rounds"] < CONFIG.rounds


def test_refuses_features_that_are_not_there_and_ordered_categories() -> None:
    train = clicks(100, 0, bias=0)
    with pytest.raises(ConfigError, match=r"no feature 'clicks', 'tag' to constrain. There are: good, shown_early"):
        LightGBMRanker.fit(train, train, LightGBMRankerConfig(monotone={"clicks": 1}, categorical=("tag",)))
    with pytest.raises(ValidationError, match="cannot be both monotone and categorical"):
        LightGBMRankerConfig(monotone={"good": 1}, categorical=("good",))


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
