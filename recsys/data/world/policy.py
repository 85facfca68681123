"""The logging policy: how likely every note is to be shown, and slates drawn from that with exact propensities."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recsys.data.world.clock import DAY_MS
from recsys.types import FloatArray

SLATE = 10

SHARE_BY_PREFERENCE, SHARE_BY_POPULARITY, SHARE_OF_FRESH, SHARE_AT_RANDOM = 0.65, 0.10, 0.15, 0.10
"""The feed is this mixture: what a fair model would show, what was clicked, what is new, anything."""
MODEL_NOISE = 0.8
MODEL_SHARPNESS = 1.2
SEARCH_SHARPNESS = 2.0
PERSONAL_SHARE_OF_SEARCH = 0.5
FRESH_DAYS = 2.0


def feed_policy(
    rng: np.random.Generator, logits: FloatArray, popularity: npt.NDArray[np.float64], ages_ms: npt.NDArray[np.int64]
) -> FloatArray:
    """Weights of the items in the feed of n requests, float32 ``[n, n_items]``; 0 where an item does not exist yet.

    Args:
        rng: source of the model's errors.
        logits: true preference, ``[n, n_items]``.
        popularity: recent clicks, ``[n_items]``.
        ages_ms: age of every item at every request, negative before it exists, ``[n, n_items]``.
    """
    exists = ages_ms >= 0
    errors = rng.standard_normal(logits.shape, dtype=np.float32)
    model = np.exp(MODEL_SHARPNESS * (logits + MODEL_NOISE * errors))
    fresh = np.exp(-np.maximum(ages_ms, 0).astype(np.float32) / np.float32(FRESH_DAYS * DAY_MS))
    clicked = np.broadcast_to((popularity + 0.1).astype(np.float32), logits.shape)
    parts = (
        (SHARE_BY_PREFERENCE, model),
        (SHARE_BY_POPULARITY, clicked),
        (SHARE_OF_FRESH, fresh),
        (SHARE_AT_RANDOM, np.ones_like(logits)),
    )
    policy = np.zeros_like(logits)
    for share, weights in parts:
        existing = weights * exists
        policy += np.float32(share) * existing / np.maximum(existing.sum(axis=1, keepdims=True), np.float32(1e-9))
    return policy


def search_policy(logits: FloatArray, grades: npt.NDArray[np.int8], ages_ms: npt.NDArray[np.int64]) -> FloatArray:
    """Weights of the items in the answers to n searches: mostly relevance, a little preference, ``[n, n_items]``."""
    scores = SEARCH_SHARPNESS * grades.astype(np.float32) + PERSONAL_SHARE_OF_SEARCH * logits
    return np.exp(scores).astype(np.float32) * (ages_ms >= 0)


def draw_slates(rng: np.random.Generator, policy: FloatArray) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Fill slates from the top without repetition (Plackett-Luce, drawn with the Gumbel trick).

    Args:
        rng: source of chance.
        policy: weights, not negative, ``[n, n_items]``; 0 for what must not be shown.

    Returns:
        Item rows ``[n, SLATE]``, and the propensity of each given what stands above it: its weight over the weights of
        everything not shown yet. Where fewer items may be shown, the propensity is 0 and the place stays empty.
    """
    with np.errstate(divide="ignore"):
        keys = np.log(policy) + rng.gumbel(size=policy.shape).astype(np.float32)
    size = min(SLATE, policy.shape[1])
    best = np.argpartition(-keys, size - 1, axis=1)[:, :size]
    slate = np.take_along_axis(best, np.argsort(-np.take_along_axis(keys, best, axis=1), axis=1), axis=1)
    weights = np.take_along_axis(policy, slate, axis=1).astype(np.float64)
    above = np.cumsum(weights, axis=1) - weights
    remaining = np.maximum(policy.sum(axis=1, keepdims=True, dtype=np.float64) - above, weights)
    propensity = np.divide(weights, remaining, out=np.zeros_like(weights), where=weights > 0)
    return slate, propensity.astype(np.float32)
