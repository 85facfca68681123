"""get_online_features: what a service sees at a request, from records that were packed beforehand."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from feature_store.definitions import REQUEST_TIME, Array
from feature_store.exceptions import RequestError
from feature_store.online.base import OnlineStore
from feature_store.recency import Times, age_seconds
from feature_store.records import expire, keys_of
from feature_store.service import FeatureService

Keys = Mapping[str, Sequence[Any] | Array]


@dataclass(frozen=True)
class OnlineFeatures:
    """The answer of an online store.

    Attributes:
        values: features by name, in the service's order, each ``[n, *shape]``; defaults where nothing counts.
        present: by name of the view, which rows have a record that counts, ``[n]``.
        age: by name of the view, seconds since its event time, ``[n]``, NaN where none counts.
        event_time: by name of the view, microseconds, ``[n]``, -1 where none counts; says which row was served.
    """

    values: dict[str, Array]
    present: dict[str, Array]
    age: dict[str, Array]
    event_time: dict[str, Times]

    def matrix(self) -> Array:
        """All features side by side, float32 ``[n, d]``, vectors spread over their width."""
        rows = len(next(iter(self.values.values())))
        return np.concatenate([value.reshape(rows, -1) for value in self.values.values()], axis=1, dtype=np.float32)


def get_online_features(
    store: OnlineStore,
    service: FeatureService,
    keys: Keys,
    request: Mapping[str, Sequence[Any] | Array] | None = None,
    now_us: int | None = None,
) -> OnlineFeatures:
    """Features of n rows.

    Args:
        store: that holds the records.
        service: names the features.
        keys: key columns of the service's entities, each of length n, or 1 where all rows share it (such as the user
            of a request: read once).
        request: further columns that on-demand transforms take, each of length n or 1.
        now_us: time of the request in microseconds; default: the clock.

    Raises:
        RequestError: a key or an input is missing, or lengths differ.
        StoreError: the store cannot be read.
    """
    now = time.time_ns() // 1000 if now_us is None else now_us
    columns = [*keys.values(), *(request or {}).values()]
    rows = max((len(column) for column in columns), default=0)
    wrong = [len(column) for column in columns if len(column) not in (1, rows)]
    if wrong:
        raise RequestError(f"A column has length {wrong[0]} beside others of {rows}.", "Give one for each row, or one.")
    values: dict[str, Array] = {}
    present: dict[str, Array] = {}
    age: dict[str, Array] = {}
    event_time: dict[str, Times] = {}
    for view in service.views:
        wanted = keys_of(view, keys)
        found, there, times = expire(view, store.get_many(view, wanted), now)
        present[view.name] = _spread(there, rows)
        event_time[view.name] = _spread(times, rows)
        age[view.name] = _spread(age_seconds(times, now, there), rows)
        values.update((name, _spread(found[field.name], rows)) for name, field in service.needed(view).items())
    if service.transforms:
        inputs = values | {f"{name}__row_age": one for name, one in age.items()}
        inputs[REQUEST_TIME] = np.full(rows, now)
        for name, column in (request or {}).items():
            inputs[name] = _spread(np.asarray(column), rows)
        for transform in service.transforms:
            values[transform.name] = inputs[transform.name] = transform(inputs, rows)
    return OnlineFeatures({name: values[name] for name in service.features}, present, age, event_time)


def _spread(column: Array, rows: int) -> Array:
    """A column of length 1 for all rows, without copying it."""
    return column if len(column) == rows else np.broadcast_to(column, (rows, *column.shape[1:]))
