from __future__ import annotations

import math

import numpy as np
import pytest

from recsys.evaluation.intervals import mean_interval, mean_intervals, paired_difference, relative_lift
from recsys.exceptions import DataError


def test_interval_of_independent_requests_matches_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 4000)
    estimate = mean_interval(values, seed=1)
    error = values.std() / math.sqrt(4000)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert estimate.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_intervals_cover_the_truth_as_often_as_they_promise() -> None:
    generator = np.random.default_rng(4)
    inside = 0
    for seed in range(200):
        estimate = mean_interval(generator.binomial(1, 0.2, 150).astype(float), seed)
        inside += estimate.low <= 0.2 <= estimate.high
    assert 0.90 <= inside / 200 <= 0.985


def test_undefined_requests_are_left_out_and_not_counted() -> None:
    estimate = mean_interval(np.array([1.0, np.nan, 3.0]), seed=0)
    assert (estimate.value, estimate.n) == (2.0, 2)
    assert mean_interval(np.array([np.nan, np.nan]), seed=0) is None


def test_requests_of_one_user_are_resampled_together() -> None:
    values = np.repeat(np.random.default_rng(2).normal(size=100), 25)
    alone = mean_interval(values, seed=3)
    together = mean_interval(values, seed=3, clusters=np.repeat(np.arange(100), 25))
    assert alone.value == together.value
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(math.sqrt(25), rel=0.15)


def test_clusters_of_unequal_size_keep_the_mean_over_requests() -> None:
    estimate = mean_interval(np.array([1.0, 0, 0, 0]), seed=0, clusters=np.array([7, 9, 9, 9]))
    assert (estimate.value, estimate.low, estimate.high) == (0.25, 0.0, 1.0)


def test_pairing_removes_what_both_systems_share() -> None:
    generator = np.random.default_rng(5)
    difficulty = generator.normal(0, 5, 500)
    baseline = difficulty + generator.normal(0, 0.1, 500)
    better = difficulty + 0.2 + generator.normal(0, 0.1, 500)
    difference = paired_difference(better, baseline, seed=6)
    assert difference.value == pytest.approx(0.2, abs=0.02)
    assert 0.15 < difference.low < difference.high < 0.25


def test_lift_of_a_constant_factor_is_exact() -> None:
    baseline = np.random.default_rng(7).random(50)
    lift = relative_lift(1.1 * baseline, baseline, seed=8)
    assert (lift.value, lift.low, lift.high) == pytest.approx((0.1, 0.1, 0.1))
    assert lift.n == 50


def test_there_is_no_lift_over_nothing() -> None:
    assert relative_lift(np.ones(3), np.zeros(3), seed=0) is None
    assert relative_lift(np.full(2, np.nan), np.full(2, np.nan), seed=0) is None


def test_systems_measured_on_different_requests_are_refused() -> None:
    with pytest.raises(DataError, match="same requests"):
        relative_lift(np.array([1.0, np.nan]), np.array([1.0, 1.0]), seed=0)


def test_same_seed_same_interval() -> None:
    values = np.random.default_rng(9).random(300)
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1)
    assert mean_interval(values, seed=1) != mean_interval(values, seed=2)


def test_many_metrics_at_once_agree_with_one_at_a_time() -> None:
    generator = np.random.default_rng(10)
    values = {"a": generator.random(80), "b": generator.random(80)}
    users = generator.integers(0, 30, 80)
    together = mean_intervals(values, 3, users)
    for name in values:
        alone = mean_interval(values[name], 3, users)
        assert together[name].model_dump() == pytest.approx(alone.model_dump())
