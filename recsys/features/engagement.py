"""Features from logged impressions and clicks, each counted strictly before the request it is used in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys import schemas
from recsys.exceptions import DataError
from recsys.features.counters import AsOfCounter, Int64
from recsys.features.requests import RankingRequests
from recsys.types import NO_ROW, FloatArray, IdMap

Rates = npt.NDArray[np.float64]

DAY_MS = 86_400_000
PRIOR_IMPRESSIONS = 20
"""A rate is smoothed as if it had been shown this often before, with the click rate of everything so far."""
EVERYTHING = 0


@dataclass(frozen=True)
class _Tally:
    """Impressions, clicks and stronger actions of one kind of key."""

    shown: AsOfCounter
    clicked: AsOfCounter
    acted: AsOfCounter


class EngagementCounters:
    """As-of counters and smoothed rates of item, author, user, user x category and user x author.

    Events at the moment of the request, or later, never count. NaN where the item has no author or category; a user
    nobody has met counts 0.

    Args:
        events: rows of :data:`recsys.schemas.EVENTS` with timestamps; later ones do no harm.
        items: the catalogue, in row order.
        items_map: its ids.
        users_map: users of the requests.

    Raises:
        DataError: an event has no timestamp.
    """

    names = (
        "item_impressions",
        "item_clicks",
        "item_clicks_1d",
        "item_clicks_7d",
        "item_ctr",
        "item_ctr_7d",
        "item_action_rate",
        "author_clicks",
        "author_ctr",
        "user_impressions",
        "user_clicks_7d",
        "user_ctr",
        "user_category_clicks",
        "user_category_ctr",
        "user_author_clicks",
        "user_item_impressions",
    )

    def __init__(self, events: pl.DataFrame, items: pl.DataFrame, items_map: IdMap, users_map: IdMap) -> None:
        if events[schemas.TIMESTAMP].null_count():
            raise DataError("Engagement counters need a timestamp on every event.", "Leave them out for this data set.")
        self._authors, self._n_authors = _codes(items[schemas.AUTHOR_ID])
        self._categories, self._n_categories = _codes(items[schemas.CATEGORY])
        self._n_items = len(items_map)
        kinds = events[schemas.EVENT_TYPE].replace_strict(
            {schemas.IMPRESSION: 0, schemas.CLICK: 1, "dwell": 3, "hide": 3}, default=2, return_dtype=pl.Int8
        )
        kind = kinds.to_numpy()
        times = events[schemas.TIMESTAMP].dt.epoch("ms").to_numpy().astype(np.int64)
        rows = items_map.rows(events[schemas.ITEM_ID]).astype(np.int64)
        users = users_map.rows(events[schemas.USER_ID]).astype(np.int64)

        def tally(keys: Int64) -> _Tally:
            parts = [(kind == wanted) & (keys >= 0) for wanted in range(3)]
            return _Tally(*(AsOfCounter(keys[part], times[part]) for part in parts))

        self._all = tally(np.full(len(events), EVERYTHING, np.int64))
        self._item = tally(rows)
        self._author = tally(_of(self._authors, rows))
        self._user = tally(users)
        self._user_category = tally(_pair(users, _of(self._categories, rows), self._n_categories))
        self._user_author = tally(_pair(users, _of(self._authors, rows), self._n_authors))
        self._user_item = tally(_pair(users, rows, self._n_items))

    def compute(self, requests: RankingRequests) -> FloatArray:
        """See :class:`recsys.features.assembler.FeatureGroup`.

        Raises:
            DataError: the requests have no times.
        """
        if requests.times is None:
            raise DataError("Engagement counters need the time of the request.", "Give RankingRequests its times.")
        rows, met = requests.rows.astype(np.int64), requests.met.astype(np.int64)
        now = np.broadcast_to(requests.times[:, None], rows.shape)
        user = np.broadcast_to(requests.users[:, None].astype(np.int64), rows.shape)
        author, category = _of(self._authors, rows), _of(self._categories, rows)
        everything = np.full((len(rows), 1), EVERYTHING, np.int64)
        prior = self._rate(self._all, everything, now[:, :1], np.zeros((len(rows), 1)))
        acted_prior = self._action_rate(self._all, everything, now[:, :1], np.zeros((len(rows), 1)))
        user_category = _pair(user, category, self._n_categories)
        columns = [
            np.log1p(self._item.shown.before(met, now)),
            np.log1p(self._item.clicked.before(met, now)),
            np.log1p(self._item.clicked.before(met, now, DAY_MS)),
            np.log1p(self._item.clicked.before(met, now, 7 * DAY_MS)),
            self._rate(self._item, met, now, prior),
            self._rate(self._item, met, now, prior, 7 * DAY_MS),
            self._action_rate(self._item, met, now, acted_prior),
            _where_known(author, np.log1p(self._author.clicked.before(author, now))),
            _where_known(author, self._rate(self._author, author, now, prior)),
            np.log1p(self._user.shown.before(user, now)),
            np.log1p(self._user.clicked.before(user, now, 7 * DAY_MS)),
            self._rate(self._user, user, now, prior),
            _where_known(category, np.log1p(self._user_category.clicked.before(user_category, now))),
            _where_known(category, self._rate(self._user_category, user_category, now, prior)),
            _where_known(author, np.log1p(self._user_author.clicked.before(_pair(user, author, self._n_authors), now))),
            np.log1p(self._user_item.shown.before(_pair(user, met, self._n_items), now)),
        ]
        return np.stack(columns, axis=-1).astype(np.float32)

    def _rate(self, of: _Tally, keys: Int64, now: Int64, prior: Rates, window_ms: int | None = None) -> Rates:
        clicked, shown = of.clicked.before(keys, now, window_ms), of.shown.before(keys, now, window_ms)
        return (clicked + PRIOR_IMPRESSIONS * prior) / (shown + PRIOR_IMPRESSIONS)

    def _action_rate(self, of: _Tally, keys: Int64, now: Int64, prior: Rates) -> Rates:
        """Likes, collects, comments, shares and follows per impression."""
        return (of.acted.before(keys, now) + PRIOR_IMPRESSIONS * prior) / (
            of.shown.before(keys, now) + PRIOR_IMPRESSIONS
        )


def _codes(values: pl.Series) -> tuple[Int64, int]:
    """A number per distinct value, ``NO_ROW`` for null, and how many there are."""
    codes = values.rank("dense").cast(pl.Int64).fill_null(NO_ROW + 1).to_numpy() - 1
    return codes.astype(np.int64), int(codes.max(initial=NO_ROW)) + 1


def _of(codes: Int64, rows: Int64) -> Int64:
    return np.where(rows >= 0, codes[np.maximum(rows, 0)], NO_ROW)


def _pair(first: Int64, second: Int64, n_second: int) -> Int64:
    """One key for two, ``NO_ROW`` where either is unknown."""
    return np.where((first >= 0) & (second >= 0), first * n_second + second, NO_ROW)


def _where_known(keys: Int64, values: Rates) -> Rates:
    return np.where(keys >= 0, values, np.nan)
