"""Features from engagements that are not tied to a clock: how popular, and at which stage of a user's life."""

from __future__ import annotations

import numpy as np

from recsys.data.interactions import Interactions
from recsys.features.requests import RankingRequests
from recsys.types import NO_ROW, FloatArray

RECENT = 10


class EngagementPatterns:
    """Popularity and life stage of the candidate, and how they fit this user.

    - ``history_length``: log(1 + engagements of the user so far);
    - ``popularity``: log(1 + users of the item); ``popularity_gap``: minus the mean of the user's last ten;
    - ``stage``: mean over the item's users of log(1 + engagements they had before it): some items are met early in a
      user's life, some late; ``stage_spread``: its standard deviation; ``stage_gap``: minus the user's own;
    - ``newcomers``: share of the item's users for whom it was among the first ten.

    Args:
        interactions: what to count; never what is to be predicted.
    """

    names = ("history_length", "popularity", "popularity_gap", "stage", "stage_spread", "stage_gap", "newcomers")

    def __init__(self, interactions: Interactions) -> None:
        counts = interactions.item_counts()
        users, items, n = interactions.users, interactions.items, len(counts)
        before = np.arange(len(users)) - np.searchsorted(users, users, side="left")
        stage = np.log1p(before)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.bincount(items, stage, n) / counts
            spread = np.sqrt(np.maximum(np.bincount(items, stage**2, n) / counts - mean**2, 0))
            newcomers = np.bincount(items, before < RECENT, n) / counts
        self._popularity = np.log1p(counts)
        self._stage, self._spread, self._newcomers = mean, spread, newcomers

    def compute(self, requests: RankingRequests) -> FloatArray:
        rows, unmet = np.maximum(requests.rows, 0), requests.met == NO_ROW
        recent, _ = requests.histories.recent(RECENT)
        there = recent != NO_ROW
        known = np.maximum(there.sum(axis=1), 1)
        usual = np.where(there, self._popularity[recent], 0).sum(axis=1) / known
        length = np.log1p(requests.histories.lengths)[:, None]
        popularity = np.where(unmet, 0, self._popularity[rows])
        stage, spread, newcomers = (
            np.where(unmet, np.nan, of[rows]) for of in (self._stage, self._spread, self._newcomers)
        )
        columns = [
            np.broadcast_to(length, rows.shape),
            popularity,
            popularity - usual[:, None],
            stage,
            spread,
            stage - length,
            newcomers,
        ]
        return np.stack(columns, axis=-1).astype(np.float32)
