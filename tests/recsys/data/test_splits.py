from datetime import UTC, datetime

import polars as pl
import pytest
from pydantic import ValidationError

from recsys import schemas
from recsys.data.splits import SplitConfig, split_events
from recsys.exceptions import DataError


def events(rows, timed):
    """Events from (user, item, event_type, minute or order), sorted as a data set gives them."""
    return pl.DataFrame(
        [
            {
                schemas.USER_ID: user,
                schemas.ITEM_ID: item,
                schemas.EVENT_TYPE: action,
                schemas.TIMESTAMP: datetime(2024, 1, 1, moment // 60, moment % 60, tzinfo=UTC) if timed else None,
                schemas.ORDER: None if timed else moment,
            }
            for user, item, action, moment in rows
        ],
        schema_overrides={schemas.TIMESTAMP: pl.Datetime("ms", "UTC"), schemas.ORDER: pl.Int64},
    ).sort(schemas.USER_ID, schemas.TIMESTAMP, schemas.ORDER)


def items(frame):
    return [tuple(row) for row in frame.select(schemas.USER_ID, schemas.ITEM_ID).rows()]


def test_a_time_split_divides_by_share_and_knows_its_moments():
    log = events([("u" if i % 2 else "v", str(i), "impression" if i % 3 else "click", i) for i in range(100)], True)
    split = split_events(log, SplitConfig(label_share=0.2, test_share=0.1))
    assert split.protocol == "time"
    assert [sorted(int(item) for _, item in items(part)) for part in (split.fit, split.label, split.test)] == [
        list(range(70)),
        list(range(70, 90)),
        list(range(90, 100)),
    ]
    assert split.label_from == datetime(2024, 1, 1, 1, 10, tzinfo=UTC)
    assert split.test_from == datetime(2024, 1, 1, 1, 30, tzinfo=UTC)
    assert len(split.before_test) == 90


def test_one_moment_is_never_on_two_sides():
    log = events([("u", str(i), "click", i // 40) for i in range(100)], True)
    split = split_events(log, SplitConfig(label_share=0.35, test_share=0.15))  # cut inside the second and third moment
    assert (len(split.fit), len(split.label), len(split.test)) == (40, 40, 20)


def test_leave_last_out_takes_the_last_for_test_and_those_before_it_for_labels():
    rows = [("u", name, "click", place) for place, name in enumerate("abcdefgh")]
    rows += [("v", name, "click", place) for place, name in enumerate("xyz")]
    rows += [("w", name, "click", place) for place, name in enumerate("xy")]
    split = split_events(events(rows, False), SplitConfig(label_items=2))
    assert split.protocol == "leave_last_out"
    assert items(split.test) == [("u", "h"), ("v", "z")]
    assert items(split.label) == [("u", "f"), ("u", "g"), ("v", "y")]
    assert items(split.fit) == [*(("u", name) for name in "abcde"), ("v", "x"), ("w", "x"), ("w", "y")]
    assert (split.label_from, split.test_from) == (None, None)


def test_leave_last_out_counts_each_item_once_and_positive_actions_only():
    rows = [
        ("u", "a", "click", 0),
        ("u", "b", "click", 1),
        ("u", "c", "click", 2),
        ("u", "a", "like", 3),
        ("u", "d", "impression", 4),
        ("u", "e", "hide", 5),
    ]
    split = split_events(events(rows, False), SplitConfig())
    assert items(split.test) == [("u", "c")]
    assert items(split.label) == [("u", "b")]
    assert items(split.fit) == [("u", "a")]


def test_auto_chooses_by_timestamps_and_may_be_overruled():
    rows = [("u", name, "click", place) for place, name in enumerate("abcd")]
    assert split_events(events(rows, True), SplitConfig()).protocol == "time"
    assert split_events(events(rows, False), SplitConfig()).protocol == "leave_last_out"
    overruled = split_events(events(rows, True), SplitConfig(protocol="leave_last_out"))
    assert items(overruled.test) == [("u", "d")]


def test_what_cannot_be_split_says_why():
    rows = [("u", "a", "click", 0)]
    with pytest.raises(DataError, match="leave_last_out"):
        split_events(events(rows, False), SplitConfig(protocol="time"))
    with pytest.raises(DataError, match="no events"):
        split_events(events(rows, False).clear(), SplitConfig())
    with pytest.raises(ValidationError, match="test_size"):
        SplitConfig(test_size=0.1)
