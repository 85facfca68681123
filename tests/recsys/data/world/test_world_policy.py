"""Slates follow the policy's weights, and the recorded propensities are the ones they were drawn with."""

from __future__ import annotations

import numpy as np

from recsys.data.world.clock import DAY_MS
from recsys.data.world.policy import SLATE, draw_slates, feed_policy, search_policy


def test_the_top_of_the_slate_is_drawn_in_proportion_to_the_weights() -> None:
    weights = np.array([1, 2, 3, 4, 0], np.float32)
    slates, propensity = draw_slates(np.random.default_rng(0), np.tile(weights, (20_000, 1)))
    frequencies = np.bincount(slates[:, 0], minlength=5) / len(slates)
    np.testing.assert_allclose(frequencies, weights / 10, atol=0.015)
    np.testing.assert_allclose(propensity[:, 0], weights[slates[:, 0]] / 10, rtol=1e-6)


def test_propensity_is_the_weight_over_what_is_left() -> None:
    weights = np.array([[1, 2, 3, 4, 0]], np.float32)
    (slate,), (propensity,) = draw_slates(np.random.default_rng(1), weights)
    left = 10.0
    for item, chance in zip(slate[:4], propensity[:4], strict=True):
        np.testing.assert_allclose(chance, weights[0, item] / left, rtol=1e-6)
        left -= weights[0, item]
    assert slate[4] == 4
    assert propensity[4] == 0  # an empty place: nothing else may be shown


def test_slates_never_repeat_an_item() -> None:
    policy = np.random.default_rng(2).random((200, 40)).astype(np.float32)
    slates, _ = draw_slates(np.random.default_rng(3), policy)
    assert slates.shape == (200, SLATE)
    assert all(len(set(slate)) == SLATE for slate in slates.tolist())


def test_the_feed_is_a_distribution_over_existing_items_and_likes_what_the_reader_likes() -> None:
    logits = np.tile(np.linspace(-4, 2, 50, dtype=np.float32), (400, 1))
    ages = np.full((400, 50), 30 * DAY_MS)
    ages[:, -1] = -1  # the best item is not published yet
    policy = feed_policy(np.random.default_rng(0), logits, np.zeros(50), ages)
    np.testing.assert_allclose(policy.sum(axis=1), 1, rtol=1e-5)
    assert (policy[:, -1] == 0).all()
    assert policy[:, 44:49].mean() > 4 * policy[:, :5].mean()


def test_the_feed_explores_everything_that_exists() -> None:
    logits = np.full((1, 100), -20, np.float32)
    logits[0, 0] = 5
    policy = feed_policy(np.random.default_rng(0), logits, np.zeros(100), np.full((1, 100), DAY_MS))
    assert policy.min() > 0.1 / 100


def test_searches_are_answered_by_relevance() -> None:
    grades = np.array([[0, 1, 2, 3]], np.int8)
    ages = np.array([[1, 1, 1, 1]])
    policy = search_policy(np.zeros((1, 4), np.float32), grades, ages)
    np.testing.assert_allclose(policy[0, 1:] / policy[0, :-1], np.exp(2), rtol=1e-5)
