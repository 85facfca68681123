"""Packed rows: one fixed-width record and one key of bytes for each row, the same in every online store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from feature_store.definitions import CREATED_TIME, EVENT_TIME, Array, FeatureView
from feature_store.exceptions import RequestError
from feature_store.recency import NEVER, Times, counts, latest

Key = bytes
SEPARATOR = "\x00"  # between the parts of a key; refused inside of one
LONGEST_KEY = 500  # bytes; LMDB takes 511


def absent(view: FeatureView) -> Array:
    """The record that stands for a key without a row, ``[1]``: all defaults."""
    record = np.zeros(1, view.record)
    record[EVENT_TIME] = record[CREATED_TIME] = NEVER
    for field in view.fields:
        record[field.name] = field.missing
    return record


def pack(view: FeatureView, rows: pl.DataFrame) -> tuple[list[Key], Array]:
    """Keys and records ``[n]`` of the row of each key that counts, sorted by key.

    Args:
        view: the rows are of.
        rows: as the offline store keeps them.
    """
    key = pl.concat_str([pl.col(name).cast(pl.String) for name in view.keys], separator=SEPARATOR).alias("_key")
    kept = latest(rows, view.keys).with_columns(key).sort("_key")
    records = np.empty(len(kept), view.record)
    for name in (EVENT_TIME, CREATED_TIME):
        records[name] = kept[name].to_physical().to_numpy()
    for field in view.fields:
        records[field.name] = filled(kept[field.name], field.missing).to_numpy()
    return [text.encode() for text in kept["_key"]], records


def filled(values: pl.Series, missing: float | int | bool) -> pl.Series:
    """A column with the default in place of nulls."""
    if not values.null_count():
        return values
    width = values.dtype.shape[0] if isinstance(values.dtype, pl.Array) else 0
    return values.to_frame().select(
        pl.col(values.name).fill_null(pl.lit([missing] * width if width else missing, values.dtype))
    )[values.name]


def keys_of(view: FeatureView, columns: Mapping[str, Sequence[Any] | Array]) -> list[Key]:
    """Keys of the rows that a request asks for.

    Args:
        view: that is asked.
        columns: by name of the key; of one length, or of length 1 for all rows.

    Raises:
        RequestError: a key column is missing, or the lengths differ.
    """
    missing = [name for name in view.keys if name not in columns]
    if missing:
        raise RequestError(f"{view.label} is keyed by {missing[0]}, which was not given.", "Add it to the keys.")
    parts = [_encoded(columns[name]) for name in view.keys]
    if len(parts) == 1:
        return parts[0]
    longest = max(map(len, parts))
    if any(len(part) not in (1, longest) for part in parts):
        raise RequestError(
            f"Keys {view.keys} have lengths {[len(part) for part in parts]}.", "Give one for each row, or one for all."
        )
    spread = [part * longest if len(part) < longest else part for part in parts]
    return [SEPARATOR.encode().join(row) for row in zip(*spread, strict=True)]


def _encoded(column: Sequence[Any] | Array) -> list[Key]:
    """Parts of keys; ``None`` becomes an empty one, which no row has."""
    values = column.tolist() if isinstance(column, np.ndarray) else column
    try:
        return [text.encode() for text in values]
    except AttributeError:
        return [b"" if value is None else str(value).encode() for value in values]


def expire(view: FeatureView, records: Array, request_time: Times | int) -> tuple[Array, Array, Times]:
    """Put defaults where no row counts at the request.

    Returns:
        The records ``[n]``, which rows are present ``[n]``, and their event times, ``NEVER`` where not.
    """
    event_time = records[EVENT_TIME].astype(np.int64)
    present = counts(event_time, request_time, view.ttl_us)
    if not present.all():
        records = np.where(present, records, absent(view))
        event_time = np.where(present, event_time, NEVER)
    return records, present, event_time
