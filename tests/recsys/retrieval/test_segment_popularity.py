from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from recsys import schemas
from recsys.data.interactions import Interactions
from recsys.exceptions import ConfigError
from recsys.retrieval.popularity import MILLISECONDS_PER_DAY
from recsys.retrieval.segment_popularity import SegmentPopularityConfig, SegmentPopularitySource
from recsys.types import NO_ROW, Histories, IdMap

ITEMS = IdMap.of("abcd")
USERS = IdMap.of("uvwx")
ALL = np.array([[0, 1, 2, 3]], np.int32)
EVERYONE = [2, 2, 2, 2]


def interactions(days: list[int] | None = None) -> Interactions:
    """u: a b c, v: a c, w: b d, x: d."""
    users, items = np.array([0, 0, 0, 1, 1, 2, 2, 3], np.int32), np.array([0, 1, 2, 0, 2, 1, 3, 3], np.int32)
    times = np.array(days or [0] * 8, np.int64) * MILLISECONDS_PER_DAY
    return Interactions(ITEMS, USERS, users, items, times, np.ones(8, np.float32))


def readers() -> pl.DataFrame:
    """In an order of their own; nobody knows x, and y never came."""
    languages = {"y": "zh", "w": "en", "v": "zh", "u": "zh"}
    rows = [{schemas.USER_ID: user, schemas.ATTRIBUTES: {"lang": of}} for user, of in languages.items()]
    return pl.DataFrame(pl.from_arrow(pa.Table.from_pylist(rows, schema=schemas.USERS)))


def catalogue() -> pl.DataFrame:
    rows = [
        {schemas.ITEM_ID: item, schemas.CATEGORY: category, schemas.TAGS: ["hot"]}
        for item, category in zip("abcd", ("food", "food", "travel", None), strict=True)
    ]
    return pl.DataFrame(pl.from_arrow(pa.Table.from_pylist(rows, schema=schemas.ITEMS)))


def by_language(min_engagements: int) -> SegmentPopularitySource:
    config = SegmentPopularityConfig(of="users", attribute="lang", min_engagements=min_engagements)
    return SegmentPopularitySource(interactions(), readers(), config, "by language")


def by_category(data: Interactions, **settings: object) -> SegmentPopularitySource:
    config = SegmentPopularityConfig.model_validate({"min_engagements": 1, **settings})
    return SegmentPopularitySource(data, catalogue(), config, "by category")


def asking(users: list[int]) -> Histories:
    nobody = Histories.of([[]] * len(users))
    return Histories(nobody.offsets, nobody.items, nobody.weights, np.array(users, np.int32))


def test_users_get_what_is_popular_with_those_who_share_their_attribute() -> None:
    scores = by_language(2).score(asking([0, 1, 2]), np.tile(ALL, (3, 1)))
    assert scores.tolist() == [[2, 1, 2, 0], [2, 1, 2, 0], [0, 1, 0, 1]]


def test_users_of_whom_nothing_is_known_get_what_is_popular_with_everyone() -> None:
    source = by_language(2)
    assert source.score(asking([3, NO_ROW]), np.tile(ALL, (2, 1))).tolist() == [EVERYONE, EVERYONE]
    assert source.score(Histories.of([[0]]), ALL).tolist() == [EVERYONE]  # nobody says who asks


def test_a_segment_with_too_few_engagements_does_not_speak() -> None:
    source = by_language(3)  # zh has five, en two
    assert source.score(asking([0, 2]), np.tile(ALL, (2, 1))).tolist() == [[2, 1, 2, 0], EVERYONE]


def test_users_get_what_is_popular_in_the_category_they_favour_now() -> None:
    source = by_category(interactions(), last=3, decay=0.6)
    histories = Histories.of([[2, 0], [0, 2], [0, 1, 2], [3], []])  # newest last: food, travel, food .96 to 1 travel
    scores = source.score(histories, np.tile(ALL, (5, 1)))
    travel, food = [0, 0, 2, 0], [2, 2, 0, 0]
    assert scores.tolist() == [food, travel, travel, EVERYONE, EVERYONE]
    longer = by_category(interactions(), last=3, decay=0.7).score(Histories.of([[0, 1, 2]]), ALL)
    assert longer.tolist() == [food]  # .7 + .49 to 1
    assert by_category(interactions(), last=1).score(Histories.of([[0, 0, 2]]), ALL).tolist() == [travel]


def test_only_engagements_within_the_window_count_also_for_whether_a_segment_speaks() -> None:
    days = [1, 9, 9, 9, 2, 10, 9, 3]  # u: a b c, v: a c, w: b d, x: d
    source = by_category(interactions(days), window_days=4, min_engagements=2)
    scores = source.score(Histories.of([[0], [2]]), np.tile(ALL, (2, 1)))
    assert scores.tolist() == [[1, 2, 0, 0], [1, 2, 1, 1]]  # food has three, travel one: everyone's
    assert by_category(interactions(days)).score(Histories.of([[2]]), ALL).tolist() == [[0, 0, 2, 0]]


def test_what_is_no_segment_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"Items have no column or attribute 'categry'\. Did you mean category"):
        by_category(interactions(), attribute="categry")
    with pytest.raises(ConfigError, match="tags is a list"):
        by_category(interactions(), attribute="tags")
    with pytest.raises(ConfigError, match="Users have no column or attribute 'age'"):
        SegmentPopularitySource(
            interactions(), readers(), SegmentPopularityConfig(of="users", attribute="age"), "by age"
        )
