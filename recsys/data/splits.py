"""Splits in time: what towers and sources may learn from, what the ranker learns from, and what is held out.

``fit`` comes first (towers, item-to-item counts), then ``label`` (the ranker's training labels; candidates and features
for them come from ``fit`` alone, so nothing scored there has seen its own answer), then ``test``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import polars as pl
from pydantic import Field

from recsys import schemas
from recsys.config import BaseConfig
from recsys.exceptions import DataError

TIME = "time"
LEAVE_LAST_OUT = "leave_last_out"


class SplitConfig(BaseConfig):
    """How events are divided.

    ``auto`` is a time split where every event has a timestamp and leave-last-out otherwise.
    """

    protocol: Literal["auto", "time", "leave_last_out"] = "auto"
    label_share: float = Field(default=0.2, gt=0, lt=1)  # of the events, time split
    test_share: float = Field(default=0.15, gt=0, lt=1)  # of the events, time split
    label_items: int = Field(default=5, ge=1)  # engagements a user, leave-last-out


@dataclass(frozen=True)
class Split:
    """Three disjoint parts of the events, and the moments that divide them (time split only)."""

    protocol: Literal["time", "leave_last_out"]
    fit: pl.DataFrame
    label: pl.DataFrame
    test: pl.DataFrame
    label_from: datetime | None
    test_from: datetime | None

    @property
    def before_test(self) -> pl.DataFrame:
        return pl.concat([self.fit, self.label])


def split_events(events: pl.DataFrame, config: SplitConfig) -> Split:
    """Divide events by time, or leave each user's last engagements out.

    Under leave-last-out only positive events take part: the last of a user is the test, the ``label_items`` before it
    are labels, and a user with fewer than three keeps them all in ``fit``.

    Raises:
        DataError: no events, or a time split of events without timestamps.
    """
    if events.is_empty():
        raise DataError(
            "The data set has no events.", "A tower can be trained on it; ranking and evaluation need events."
        )
    timed = events[schemas.TIMESTAMP].null_count() == 0
    if config.protocol == TIME and not timed:
        raise DataError("A time split needs a timestamp on every event.", "Use protocol = 'leave_last_out'.")
    if config.protocol == TIME or (config.protocol == "auto" and timed):
        return _by_time(events, config)
    return _leave_last_out(events, config)


def _by_time(events: pl.DataFrame, config: SplitConfig) -> Split:
    time = pl.col(schemas.TIMESTAMP)
    ordered = events[schemas.TIMESTAMP].sort()
    label_from = ordered[int(len(ordered) * (1 - config.test_share - config.label_share))]
    test_from = ordered[int(len(ordered) * (1 - config.test_share))]
    if not ordered[0] < label_from < test_from:
        raise DataError(
            f"Events from {ordered[0]} cannot be split at {label_from} and {test_from}: too few, or too bunched.",
            "Change split.label_share and split.test_share, or use protocol = 'leave_last_out'.",
        )
    return Split(
        "time",
        events.filter(time < label_from),
        events.filter((time >= label_from) & (time < test_from)),
        events.filter(time >= test_from),
        label_from,
        test_from,
    )


def _leave_last_out(events: pl.DataFrame, config: SplitConfig) -> Split:
    position = pl.int_range(pl.len()).over(schemas.USER_ID)
    length = pl.len().over(schemas.USER_ID)
    ranked = (
        events.filter(pl.col(schemas.EVENT_TYPE).is_in(list(schemas.ACTION_WEIGHTS)))
        .unique([schemas.USER_ID, schemas.ITEM_ID], keep="first", maintain_order=True)
        .sort(schemas.USER_ID, schemas.TIMESTAMP, schemas.ORDER, maintain_order=True)
        .with_columns(from_end=length - 1 - position, enough=length >= 3)
    )
    test = pl.col("enough") & (pl.col("from_end") == 0)
    label = pl.col("enough") & pl.col("from_end").is_between(1, pl.min_horizontal(length - 2, config.label_items))
    parts = ranked.with_columns(test=test, label=label)
    extra = ["from_end", "enough", "test", "label"]
    return Split(
        "leave_last_out",
        parts.filter(~pl.col("test") & ~pl.col("label")).drop(extra),
        parts.filter("label").drop(extra),
        parts.filter("test").drop(extra),
        None,
        None,
    )
