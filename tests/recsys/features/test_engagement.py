from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from recsys import schemas
from recsys.exceptions import DataError
from recsys.features.engagement import PRIOR_IMPRESSIONS, EngagementCounters
from recsys.features.requests import RankingRequests
from recsys.types import NO_ROW, Histories, IdMap

START = datetime(2024, 1, 1, tzinfo=UTC)
ITEMS = IdMap.of(["a", "b", "c"])
USERS = IdMap.of(["u", "v"])
CATALOG = pl.DataFrame(
    {
        schemas.ITEM_ID: ["a", "b", "c"],
        schemas.AUTHOR_ID: ["x", "y", "x"],
        schemas.CATEGORY: ["food", "food", None],
    }
)


def log(rows: list[tuple[str, str, str, float]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            schemas.USER_ID: [row[0] for row in rows],
            schemas.ITEM_ID: [row[1] for row in rows],
            schemas.EVENT_TYPE: [row[2] for row in rows],
            schemas.TIMESTAMP: [START + timedelta(days=row[3]) for row in rows],
        },
        schema_overrides={schemas.TIMESTAMP: pl.Datetime("ms", "UTC")},
    )


LOG = log(
    [
        ("u", "a", "impression", 0),
        ("u", "a", "click", 0.1),
        ("u", "a", "like", 0.2),
        ("u", "a", "dwell", 0.2),
        ("v", "a", "impression", 5),
        ("v", "a", "click", 5.1),
        ("v", "b", "impression", 5),
        ("u", "c", "impression", 9),
        ("u", "c", "click", 9.1),
    ]
)


def features(
    users: list[int],
    day: float,
    rows: list[list[int]],
    events: pl.DataFrame = LOG,
    as_new: list[list[bool]] | None = None,
) -> dict[str, np.ndarray]:
    moment = int((START + timedelta(days=day)).timestamp() * 1000)
    requests = RankingRequests(
        Histories.of([[]] * len(users)),
        np.array(users, np.int32),
        np.full(len(users), moment, np.int64),
        np.array(rows, np.int32),
        None if as_new is None else np.array(as_new),
    )
    counters = EngagementCounters(events, CATALOG, ITEMS, USERS)
    return dict(zip(counters.names, np.moveaxis(counters.compute(requests), -1, 0), strict=True))


def test_counts_and_rates_by_hand() -> None:
    found = features([0], 6, [[0, 1, 2]])  # u asks on day 6: 3 impressions, 2 clicks, 1 like so far
    prior = (2 + PRIOR_IMPRESSIONS * 0) / (3 + PRIOR_IMPRESSIONS)
    acted = 1 / (3 + PRIOR_IMPRESSIONS)

    def rate(clicks: float, shown: float, base: float = prior) -> float:
        return (clicks + PRIOR_IMPRESSIONS * base) / (shown + PRIOR_IMPRESSIONS)

    expected = {
        "item_impressions": np.log1p([2, 1, 0]),
        "item_clicks": np.log1p([2, 0, 0]),
        "item_clicks_1d": np.log1p([1, 0, 0]),
        "item_clicks_7d": np.log1p([2, 0, 0]),
        "item_ctr": [rate(2, 2), rate(0, 1), rate(0, 0)],
        "item_action_rate": [rate(1, 2, acted), rate(0, 1, acted), rate(0, 0, acted)],
        "author_clicks": np.log1p([2, 0, 2]),
        "user_impressions": np.log1p([1, 1, 1]),
        "user_ctr": [rate(1, 1)] * 3,
        "user_category_clicks": [np.log1p(1), np.log1p(1), np.nan],
        "user_author_clicks": np.log1p([1, 0, 1]),
        "user_item_impressions": np.log1p([1, 0, 0]),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name][0], values, rtol=1e-5, err_msg=name)


def test_an_item_as_new_was_never_shown_its_author_and_its_reader_were() -> None:
    found = features([0], 6, [[0, 1, 2]], as_new=[[True, False, False]])
    known = features([0], 6, [[0, 1, 2]])
    of_item = [name for name in found if name.startswith("item_")]
    for name in found:
        of_new = known[name][0, 2] if name in of_item else known[name][0, 0]  # c was never shown before day 9
        expected = [0.0 if name == "user_item_impressions" else of_new, *known[name][0, 1:]]
        np.testing.assert_array_equal(found[name][0], expected, err_msg=name)


def test_what_happens_later_changes_nothing() -> None:
    until = features([0, 1], 6, [[0, 1, 2], [2, 1, 0]], LOG.filter(pl.col(schemas.TIMESTAMP) < START + timedelta(6)))
    whole = features([0, 1], 6, [[0, 1, 2], [2, 1, 0]])
    for name in whole:
        np.testing.assert_array_equal(whole[name], until[name], err_msg=name)


def test_a_stranger_counts_nothing_and_gets_the_prior() -> None:
    found = features([NO_ROW], 6, [[0, 1, 2]])
    assert found["user_impressions"][0].tolist() == [0, 0, 0]
    np.testing.assert_allclose(found["user_ctr"][0], 2 / (3 + PRIOR_IMPRESSIONS), rtol=1e-6)


def test_refuses_events_and_requests_without_a_clock() -> None:
    with pytest.raises(DataError, match="timestamp on every event"):
        EngagementCounters(LOG.with_columns(pl.lit(None).alias(schemas.TIMESTAMP)), CATALOG, ITEMS, USERS)
    counters = EngagementCounters(LOG, CATALOG, ITEMS, USERS)
    timeless = RankingRequests(Histories.of([[]]), np.zeros(1, np.int32), None, np.zeros((1, 1), np.int32))
    with pytest.raises(DataError, match="time of the request"):
        counters.compute(timeless)
