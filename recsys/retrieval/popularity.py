"""Popularity source: what most users engaged with, lately if asked so; the same for everyone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field

from recsys.config import BaseConfig
from recsys.data.interactions import Interactions
from recsys.retrieval.matrix import MatrixSource
from recsys.types import FloatArray, Histories

MILLISECONDS_PER_DAY = 86_400_000


class PopularityConfig(BaseConfig):
    """Which engagements count, and how one loses weight with age; only for data with timestamps."""

    window_days: float | None = Field(None, gt=0)  # before the newest engagement; default: all count
    half_life_days: float | None = Field(None, gt=0)


class PopularitySource(MatrixSource):
    """Number of users per item within the window, each halved every ``half_life_days`` before the newest engagement.

    Args:
        interactions: what to count.
        config: see :class:`PopularityConfig`.
        name: of the source.
    """

    def __init__(self, interactions: Interactions, config: PopularityConfig, name: str = "popularity") -> None:
        super().__init__(name, len(interactions.items_map))
        weights = age_weights(interactions, config)
        self.counts: FloatArray = np.bincount(interactions.items, weights, self.n_items).astype(np.float32)

    def score_all(self, histories: Histories) -> FloatArray:
        return np.tile(self.counts, (len(histories), 1))


def age_weights(interactions: Interactions, config: PopularityConfig) -> npt.NDArray[np.float64]:
    """What each engagement counts, ``[total]``: 0 before the window, half as much every half-life further back."""
    age_days = (interactions.times.max(initial=0) - interactions.times) / MILLISECONDS_PER_DAY
    weights = np.ones(len(interactions))
    if config.half_life_days is not None:
        weights = 0.5 ** (age_days / config.half_life_days)
    if config.window_days is not None:
        weights[age_days > config.window_days] = 0
    return weights
