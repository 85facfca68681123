"""The one rule of time, for training and serving alike: which row of a key counts, and how long.

1. A row is known from its created time on, which is not before its event time (checked when it is written).
2. Of the rows that are known, the one with the latest event time counts; of several with the same event time the one
   created last; of several created at once the one written last. So an older row that arrives late changes nothing.
3. It counts while ``request_time - event_time <= ttl``, the last instant included. Where it has expired, or where there
   is none, every feature has its default; an expired row never gives way to a row before it.
4. A null or a NaN in a row that counts is the default, too.

An online store applies 2 row by row as they arrive (:func:`supersedes`); a point-in-time join applies it to a table
(:func:`online_states`). Both then ask :func:`counts`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store.definitions import CREATED_TIME, EVENT_TIME

Times = npt.NDArray[np.int64]
NEVER = -1
"""Event time of a row that is not there; rows before 1970 are refused."""
MICROSECONDS = 1_000_000
TIMES_BYTES = 16


def counts(event_time: Times, request_time: Times | int, ttl_us: int | None) -> npt.NDArray[np.bool_]:
    """Whether rows count at the time of the request.

    Args:
        event_time: microseconds, ``[n]``; ``NEVER`` where there is no row.
        request_time: microseconds.
        ttl_us: of the view; ``None``: for ever.
    """
    there: npt.NDArray[np.bool_] = (event_time != NEVER) & (event_time <= request_time)
    return there if ttl_us is None else np.logical_and(there, request_time - event_time <= ttl_us)


def age_seconds(
    event_time: Times, request_time: Times | int, present: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Seconds since the event time, NaN where no row counts."""
    return np.where(present, (request_time - event_time) / MICROSECONDS, np.nan)


def supersedes(record: bytes | memoryview, held: bytes | memoryview) -> bool:
    """Whether a packed row that arrives replaces the one held; both start with their times."""
    return bytes(record[:TIMES_BYTES]) >= bytes(held[:TIMES_BYTES])


def latest(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """The row of each key that remains when all have arrived."""
    ordered = rows.sort(EVENT_TIME, CREATED_TIME, maintain_order=True)
    return ordered.unique(keys, keep="last", maintain_order=True)


def online_states(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """The rows that counted at some time, sorted by the time from which they did (their created time).

    Args:
        rows: of any order, with the key columns and both times as integers.
        keys: names of the key columns.
    """
    arriving = rows if rows[CREATED_TIME].is_sorted() else rows.sort(CREATED_TIME, maintain_order=True)
    if arriving[EVENT_TIME].is_sorted():  # nothing was late
        return arriving
    return arriving.filter(pl.col(EVENT_TIME) >= pl.col(EVENT_TIME).cum_max().over(keys))
