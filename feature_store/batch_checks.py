"""What a batch must be before it may be written: the declared columns, and values that its view calls good."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from feature_store.definitions import CREATED_TIME, EVENT_TIME, TIME, FeatureView, Field
from feature_store.records import LONGEST_KEY, SEPARATOR
from feature_store.statistics import Statistics, drift

DRIFT_ROWS = 1000  # with fewer, the index of ten classes is noise (about .009 at this size with nothing changed)


class Conformed:
    """A batch in the columns and types of its view, and what is wrong with it.

    Attributes:
        rows: keys, both times, and fields, in the view's order; NaN became null. Only of use without reasons.
        reasons: sentences; none: the batch is good.
    """

    def __init__(self, view: FeatureView, batch: pl.DataFrame, before: Mapping[str, Statistics]) -> None:
        self.rows = batch
        self.reasons = list(_wrong_columns(view, batch))
        if self.reasons:
            return
        if CREATED_TIME not in batch.columns:
            batch = batch.with_columns(pl.col(EVENT_TIME).alias(CREATED_TIME))
        columns = []
        for name, wanted in file_schema(view).items():
            column, reason = _cast(batch[name], wanted)
            columns.append(column)
            self.reasons += [reason] if reason else []
        if self.reasons:
            return
        self.rows = pl.DataFrame(columns)
        self.reasons += _wrong_keys(view, self.rows)
        self.reasons += _wrong_times(self.rows)
        for field in view.fields:
            self.reasons += _wrong_values(field, self.rows[field.name], before.get(field.name))


def file_schema(view: FeatureView) -> dict[str, pl.DataType]:
    """Columns of the offline store's files, and of a good batch."""
    keys = {entity.key: entity.polars for entity in view.entities}
    return {**keys, EVENT_TIME: TIME, CREATED_TIME: TIME, **{field.name: field.polars for field in view.fields}}


def _wrong_columns(view: FeatureView, batch: pl.DataFrame) -> Iterator[str]:
    wanted = file_schema(view)
    for name in wanted:
        if name not in batch.columns and name != CREATED_TIME:
            yield f"column {name} is missing"
    for name in batch.columns:
        if name not in wanted:
            yield f"column {name} is not declared"
    if batch.is_empty():
        yield "there are no rows"


def _cast(values: pl.Series, wanted: pl.DataType) -> tuple[pl.Series, str]:
    """The column in the declared type where that changes no meaning: wider numbers, another unit of time."""
    given = values.dtype
    if given == wanted or given == pl.Null:
        return _without_nan(values.cast(wanted)), ""
    if isinstance(wanted, pl.Datetime) and isinstance(given, pl.Datetime):
        utc = values.dt.replace_time_zone("UTC") if given.time_zone is None else values.dt.convert_time_zone("UTC")
        return utc.cast(wanted), ""
    vectors = isinstance(wanted, pl.Array) and isinstance(given, pl.Array | pl.List) and given.inner.is_numeric()
    numbers = (wanted.is_float() and given.is_numeric()) or (wanted.is_integer() and given.is_integer())
    if not (vectors or numbers):
        return values, f"{values.name} is {given} where {wanted} is declared"
    try:
        return _without_nan(values.cast(wanted)), ""
    except pl.exceptions.PolarsError:
        return values, f"{values.name} is {given} and does not fit into {wanted}"


def _without_nan(values: pl.Series) -> pl.Series:
    """NaN means missing; a vector with one NaN is missing as a whole."""
    number = values.dtype.inner if isinstance(values.dtype, pl.Array) else values.dtype
    if not number.is_float() or not np.isnan(values.to_numpy()).any():  # nulls are NaN in numpy, and then looked at
        return values
    if isinstance(values.dtype, pl.Array):
        broken = pl.Series(np.isnan(values.to_numpy()).any(axis=1))
        return values.to_frame().select(pl.when(~broken).then(pl.col(values.name)).alias(values.name)).to_series()
    return values.fill_nan(None)


def _wrong_keys(view: FeatureView, rows: pl.DataFrame) -> Iterator[str]:
    length = 0
    for entity in view.entities:
        column = rows[entity.key]
        if column.null_count():
            yield f"{entity.key} is null in {column.null_count()} rows"
        if entity.dtype == "string":
            if (empty := int((column == "").sum())) > 0:
                yield f"{entity.key} is empty in {empty} rows"
            if column.str.contains(SEPARATOR, literal=True).any():
                yield f"{entity.key} holds a zero byte"
            length += int(column.str.len_bytes().fill_null(0).to_numpy().max(initial=0))
    if length > LONGEST_KEY:
        yield f"a key is {length} bytes long, {LONGEST_KEY} are allowed"


def _wrong_times(rows: pl.DataFrame) -> Iterator[str]:
    for name in (EVENT_TIME, CREATED_TIME):
        if nulls := rows[name].null_count():
            yield f"{name} is null in {nulls} rows"
    if (rows[EVENT_TIME].to_physical() < 0).any():
        yield f"{EVENT_TIME} is before 1970"
    if early := int((rows[CREATED_TIME] < rows[EVENT_TIME]).sum()):
        yield f"{early} rows were created before their event time"


def _wrong_values(field: Field, values: pl.Series, before: Statistics | None) -> Iterator[str]:
    share = values.null_count() / len(values)
    if share > field.max_null_share:
        yield f"{field.name} is missing in {share:.1%} of the rows, {field.max_null_share:.1%} are allowed"
    there = values.drop_nulls() if values.null_count() else values
    if there.is_empty():
        return
    numbers = there.to_numpy()
    low, high = float(numbers.min()), float(numbers.max())
    if field.low is not None and low < field.low:
        yield f"{field.name} is {low:g}, below {field.low}"
    if field.high is not None and high > field.high:
        yield f"{field.name} is {high:g}, above {field.high}"
    if field.max_distinct is not None and (distinct := len(np.unique(numbers))) > field.max_distinct:
        yield f"{field.name} has {distinct} different values, {field.max_distinct} are allowed"
    if field.max_drift is not None and before is not None and len(values) >= DRIFT_ROWS:
        index = drift(field, values, before)
        if index > field.max_drift:
            yield f"{field.name} has drifted from the batch before: index {index:.3f}, {field.max_drift} is allowed"
