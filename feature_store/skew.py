"""Training/serving skew: vectors that were served, computed again from the offline store, and compared by feature.

As in Chronon. A difference has one of two causes, which are told apart by the event time that was served with the
features: another row counted (the online store was behind), or the same rows gave another value (a bug in a transform
or a store).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from feature_store.definitions import EVENT_TIME, REQUEST_TIME, TIME, Array
from feature_store.offline.history import get_historical_features
from feature_store.offline.store import OfflineStore
from feature_store.read import Keys, OnlineFeatures
from feature_store.recency import NEVER
from feature_store.service import FeatureService

SERVED = "served__"  # before the name of a feature in the log


@dataclass(frozen=True)
class Skew:
    """One feature in the replay.

    Attributes:
        feature: full name.
        rows: that were compared.
        stale: rows for which the server had other rows of the offline store, or none.
        wrong: rows for which it had the same ones, and another value.
        example: the first row that is wrong, or else stale: keys, time, served and replayed value.
    """

    feature: str
    rows: int
    stale: int
    wrong: int
    example: dict[str, Any] | None


def served_rows(
    service: FeatureService,
    keys: Keys,
    answer: OnlineFeatures,
    now_us: int,
    request: Mapping[str, Sequence[Any] | Array] | None = None,
) -> pl.DataFrame:
    """What to log of a request so that :func:`replay` can judge it: one row each, as it was asked and served."""
    rows = len(next(iter(answer.values.values())))
    columns = {**keys, **(request or {})}
    asked = {name: list(column) * (rows if len(column) == 1 else 1) for name, column in columns.items()}
    served = [
        pl.Series(SERVED + name, np.ascontiguousarray(answer.values[name]), field.polars)
        for name, field in service.fields.items()
    ]
    stamps = [
        pl.Series(f"{SERVED}{name}__{EVENT_TIME}", np.array(times)).replace(NEVER, None).cast(TIME)
        for name, times in answer.event_time.items()
    ]
    time = pl.Series(REQUEST_TIME, np.full(rows, now_us)).cast(TIME)
    return pl.DataFrame([time, *(pl.Series(name, column) for name, column in asked.items()), *served, *stamps])


def replay(offline: OfflineStore, served: pl.DataFrame, service: FeatureService) -> list[Skew]:
    """Compute served features again, and compare bit by bit (NaN equals NaN).

    Args:
        offline: what the server's store was filled from.
        served: of :func:`served_rows`, as many as there are.
        service: that was served, with the transforms that training uses.

    Returns:
        One for each feature, those that differ most first.
    """
    labels = served.select(pl.exclude(f"^{SERVED}.*$"))
    again = get_historical_features(offline, labels, service)
    same_rows = {view.name: _same(served, again, f"{view.name}__{EVENT_TIME}") for view in service.views}
    found = []
    for name in service.features:
        equal = _same(served, again, name)
        same = np.ones(len(served), np.bool_)
        for view in _read_by(service, name):
            same &= same_rows[view]
        stale, wrong = ~equal & ~same, ~equal & same
        first = int(np.argmax(wrong)) if wrong.any() else int(np.argmax(stale))
        example = None
        if not equal.all():
            values = {"served": served[SERVED + name][first], "replayed": again[name][first]}
            example = labels.row(first, named=True) | values
        found.append(Skew(name, len(served), int(stale.sum()), int(wrong.sum()), example))
    return sorted(found, key=lambda skew: (-skew.wrong, -skew.stale))


def _same(served: pl.DataFrame, again: pl.DataFrame, name: str) -> Array:
    """Rows in which a column was served as it is now; missing values equal each other."""
    before, after = served[SERVED + name], again[name]
    if isinstance(after.dtype, pl.Array):
        return np.array(np.all(_equal(before.to_numpy(), after.to_numpy()), axis=1))
    if isinstance(after.dtype, pl.Datetime):
        return before.eq_missing(after).to_numpy()
    return _equal(before.to_numpy(), after.to_numpy())


def _equal(before: Array, after: Array) -> Array:
    return np.array((before == after) | ((before != before) & (after != after)))


def _read_by(service: FeatureService, name: str) -> list[str]:
    """Names of the views that a feature is made from; of none where it is made from the request alone."""
    transforms = {transform.name: transform for transform in service.transforms}
    if name in transforms:
        return [view for one in transforms[name].inputs for view in _read_by(service, one)]
    return [view.name for view in service.views if name in view.features or name == f"{view.name}__row_age"]
