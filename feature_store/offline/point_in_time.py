"""The point-in-time join: for each label the row that counted at its time, by the rule of ``recency``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from feature_store.definitions import CREATED_TIME, EVENT_TIME, REQUEST_TIME, TIME, FeatureView, Field
from feature_store.recency import NEVER, counts, online_states
from feature_store.records import filled

PLACE, HELD = "_place", "_held"  # no column can be called so


def in_order_of_time(labels: pl.DataFrame) -> pl.DataFrame:
    """Labels as :func:`point_in_time` takes them, with the place that each had.

    Args:
        labels: with key columns and ``request_time`` as microseconds; they may repeat.
    """
    placed = labels.with_row_index(PLACE)
    return placed if placed[REQUEST_TIME].is_sorted() else placed.sort(REQUEST_TIME)


def point_in_time(
    labels: pl.DataFrame, view: FeatureView, rows: pl.DataFrame, fields: Mapping[str, Field]
) -> pl.DataFrame:
    """Features of each label, one row each, in the places that the labels had.

    Args:
        labels: of :func:`in_order_of_time`; nothing counts for those with a null among their keys.
        view: that the rows are of.
        rows: with key columns, both times and the fields, in the order in which they were written; all that can count
            for a label, and as many others as you like.
        fields: full name -> field, of those wanted.

    Returns:
        A column for each of ``fields``, the default where nothing counts, and ``<view>__event_time``, null there.
    """
    keys = view.keys
    asked = labels.select(*keys, REQUEST_TIME, PLACE)
    held = rows.select(*keys, pl.col(EVENT_TIME, CREATED_TIME).to_physical()).with_row_index(HELD)
    matched = asked.join_asof(
        online_states(held, keys),
        left_on=REQUEST_TIME,
        right_on=CREATED_TIME,
        by=keys,
        strategy="backward",
        check_sortedness=False,
    )
    times = matched[EVENT_TIME].fill_null(NEVER).to_numpy()
    present = counts(times, matched[REQUEST_TIME].to_numpy(), view.ttl_us)
    place, nothing = matched[PLACE].to_numpy()[present], len(rows)
    found = np.full(len(labels), nothing, np.uint32)
    found[place] = matched[HELD].filter(pl.Series(present)).to_numpy()
    event_time = np.full(len(labels), NEVER)
    event_time[place] = times[present]
    places = pl.Series(found).replace(nothing, None)
    gathered = rows.select(pl.col(field.name).gather(places).alias(name) for name, field in fields.items())
    values = [filled(gathered[name], field.missing) for name, field in fields.items()]
    stamp = pl.Series(f"{view.name}__{EVENT_TIME}", event_time).replace(NEVER, None).cast(TIME)
    return pl.DataFrame([*values, stamp])
