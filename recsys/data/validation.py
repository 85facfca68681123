"""The data contract, applied to every batch of every reader: right types, no doubles, no dangling references.

A row that breaks it is set aside with the first reason found. A picture that breaks it is set aside alone: its item
stays as long as it has a text or another picture. So is a picture's vector; its item stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime

import polars as pl

from recsys import schemas
from recsys.data.dataset import TABLES
from recsys.data.media import ImageLimits, why_not
from recsys.data.reader import REJECTED, Batch, id_text, polars_schema
from recsys.exceptions import ConfigError, DataError
from recsys.types import Image

_IDS = (schemas.ITEM_ID, schemas.USER_ID, schemas.QUERY_ID)
_UNIQUE = {
    "items": (schemas.ITEM_ID,),
    "users": (schemas.USER_ID,),
    "queries": (schemas.QUERY_ID, schemas.ITEM_ID),
}
_MS_PER_UNIT = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
_YEAR_10000_MS = 253_402_300_800_000  # a larger number is no moment


class Validator:
    """Judges batches in the order they come; remembers the ids it has let through.

    Args:
        limits: what a picture may be.
        now: later timestamps are wrong.
    """

    def __init__(self, limits: ImageLimits, now: datetime) -> None:
        self._limits = limits
        self._now = now
        self._seen: dict[str, set[tuple[str, ...]]] = {table: set() for table in _UNIQUE}
        self._items = pl.Series(schemas.ITEM_ID, [], pl.String)
        self._width = 0  # of the first vector let through, and so of all

    def validate(self, batch: Batch) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Divide a batch into the rows that keep the contract (in their table's schema) and the others (``REJECTED``).

        Raises:
            ConfigError: timestamps are numbers or text, and ``time_format`` does not say how to read them.
        """
        schema = polars_schema(TABLES[batch.table])
        rejected = [REJECTED.to_frame()] if batch.rejected is None else [batch.rejected]
        if batch.rows.is_empty():
            return schema.to_frame(), rejected[0]
        raw = batch.rows.with_columns(pl.col(pl.Binary).cast(pl.String, strict=False))
        rows = raw.select(
            pl.col(schemas.ROW).cast(pl.Int64),
            *(
                _typed(raw[name], kind, batch.time_format) if name in raw.columns else pl.lit(None, kind).alias(name)
                for name, kind in schema.items()
            ),
        )
        unreadable = [_unreadable(raw[name], rows[name]) for name in schema if name in raw.columns]
        checks = [*_empty(batch.table), *unreadable, *self._checks(batch.table)]
        reason = rows.select(_first_of(checks)).to_series()
        if batch.table == "items":
            rows, broken = self._without_broken_pictures(batch.file, rows, reason)
            rejected.append(broken)
            text = pl.coalesce(schemas.TITLE, schemas.TEXT)
            blank = (text.is_null() & pl.col(schemas.IMAGES).is_null(), "neither picture nor text")
            reason = rows.select(_first_of([(reason.is_not_null(), reason), blank])).to_series()
        reason = self._mark_duplicates(batch.table, rows, reason)
        bad = reason.is_not_null()
        if batch.table == "items":
            rows, broken = self._without_broken_vectors(batch.file, rows, ~bad)
            rejected.append(broken)
        rejected.append(_record(batch.file, raw.filter(bad), reason.filter(bad)))
        return rows.filter(~bad).select(schema.names()), pl.concat(rejected)

    def _checks(self, table: str) -> Iterator[tuple[pl.Expr, str]]:
        """What is wrong with the values of a row, beyond their types."""
        now = pl.lit(self._now).cast(pl.Datetime("ms", "UTC"))
        if table in ("items", "users"):
            yield pl.col(schemas.CREATED_AT) > now, "created_at in the future"
            return
        if len(self._items) != len(self._seen["items"]):
            self._items = pl.Series(schemas.ITEM_ID, [item for (item,) in self._seen["items"]], pl.String)
        yield ~pl.col(schemas.ITEM_ID).is_in(self._items.implode()), "unknown item"
        if table == "queries":
            yield ~pl.col(schemas.GRADE).is_between(0, 3), "grade outside 0..3"
            return
        timestamp, propensity = pl.col(schemas.TIMESTAMP), pl.col(schemas.PROPENSITY)
        yield ~pl.col(schemas.EVENT_TYPE).is_in(schemas.EVENT_TYPES), "unknown event_type"
        yield ~pl.col(schemas.SCENE).is_in(schemas.SCENES), "unknown scene"
        yield ~pl.col(schemas.VALUE).is_finite(), "value is not finite"
        yield ~(propensity.is_finite() & (propensity > 0) & (propensity <= 1)), "propensity outside 0..1"
        yield pl.col(schemas.POSITION) < 0, "negative position"
        yield timestamp.is_null() & pl.col(schemas.ORDER).is_null(), "neither timestamp nor order"
        yield timestamp > now, "timestamp in the future"

    def _without_broken_pictures(
        self, file: str, rows: pl.DataFrame, reason: pl.Series
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Items with the pictures that can be used (null where none is left), and the others."""
        kept: list[list[Image] | None] = []
        broken = []
        columns = (schemas.ITEM_ID, schemas.ROW, schemas.IMAGES)
        for (item, row, images), fault in zip(rows.select(columns).iter_rows(), reason, strict=True):
            faults = [why_not(image or b"", self._limits) for image in images or ()] if fault is None else []
            kept.append([image for image, why in zip(images or (), faults, strict=False) if why is None] or None)
            for number, why in enumerate(faults):
                if why is not None:
                    record = json.dumps({schemas.ITEM_ID: item, "picture": number}, ensure_ascii=False)
                    broken.append((file, row, why, record))
        images = pl.Series(schemas.IMAGES, kept, pl.List(pl.Binary))
        return rows.with_columns(images), pl.DataFrame(broken, REJECTED, orient="row")

    def _without_broken_vectors(
        self, file: str, rows: pl.DataFrame, kept: pl.Series
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Items with the vectors that can be used (null where there is none), and the others of the rows ``kept``."""
        vectors = rows[schemas.IMAGE_FEATURES]
        width = vectors.list.len()
        present = kept & (width > 0).fill_null(False)
        finite = vectors.list.eval(pl.element().is_finite().fill_null(False).all()).list.first()
        self._width = self._width or next(iter(width.filter(present & finite)), 0)
        checks: list[tuple[pl.Expr | pl.Series, str | pl.Series]] = [
            (present & ~finite, "image_features not finite in half precision"),
            (present & (width != self._width), "image_features of another width"),
        ]
        reason = rows.select(_first_of(checks)).to_series()
        usable = pl.when(present & reason.is_null()).then(schemas.IMAGE_FEATURES)
        broken = rows.select(
            pl.lit(file).alias(schemas.FILE),
            schemas.ROW,
            reason,
            pl.struct(schemas.ITEM_ID, width=width).struct.json_encode().alias(schemas.RECORD),
        )
        return rows.with_columns(usable), broken.filter(reason.is_not_null())

    def _mark_duplicates(self, table: str, rows: pl.DataFrame, reason: pl.Series) -> pl.Series:
        """``reason``, and a reason for good rows whose key was let through before."""
        if table not in _UNIQUE:
            return reason
        seen, key = self._seen[table], _UNIQUE[table]
        marked: list[str | None] = []
        for identity, fault in zip(rows.select(key).iter_rows(), reason, strict=True):
            if fault is None and identity in seen:
                fault = f"duplicate {' and '.join(key)}"
            elif fault is None:
                seen.add(identity)
            marked.append(fault)
        return pl.Series(schemas.REASON, marked, pl.String)


def _first_of(checks: list[tuple[pl.Expr | pl.Series, str | pl.Series]]) -> pl.Expr:
    """The reason of the first check that is true of a row, null where none is."""
    return pl.coalesce(
        [pl.when(fails).then(pl.lit(reason) if isinstance(reason, str) else reason) for fails, reason in checks]
    ).alias(schemas.REASON)


def _empty(table: str) -> list[tuple[pl.Expr | pl.Series, str | pl.Series]]:
    """Columns that must hold a value."""
    return [(pl.col(field.name).is_null(), f"empty {field.name}") for field in TABLES[table] if not field.nullable]


def _unreadable(raw: pl.Series, typed: pl.Series) -> tuple[pl.Series, str]:
    """Values that could not be read as the column's type (blank text is no value and may stay null)."""
    present = raw.is_not_null()
    if raw.dtype == pl.String:
        present &= raw.str.strip_chars() != ""
    return present & typed.is_null(), f"unreadable {typed.name}"


def _typed(raw: pl.Series, kind: pl.DataType, time_format: str | None) -> pl.Series:
    """A column in its contract's type, null where a value cannot be read as that type."""
    try:
        return _read(raw, kind, time_format)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{raw.name!r} holds {raw.dtype}, not {kind}.", "Map another column.") from error


def _read(raw: pl.Series, kind: pl.DataType, time_format: str | None) -> pl.Series:
    if raw.name in _IDS:
        return id_text(raw)
    if isinstance(kind, pl.Datetime):
        return _moments(raw, time_format)
    if kind == pl.String:
        return raw.cast(pl.String).str.strip_chars().replace({"": None})
    if kind == pl.List(pl.String):
        tags = pl.element().str.strip_chars()
        return raw.cast(kind).list.eval(tags.filter(tags != ""))
    if raw.name == schemas.IMAGE_FEATURES:
        return raw.cast(kind, strict=False)
    if kind.is_numeric():
        numbers = raw.str.strip_chars().cast(pl.Float64, strict=False) if raw.dtype == pl.String else raw
        if kind.is_integer() and numbers.dtype.is_float():
            numbers = numbers.set(numbers != numbers.round(), None)
        return numbers.cast(kind, strict=False)
    return raw.cast(kind)


def _moments(raw: pl.Series, time_format: str | None) -> pl.Series:
    """Timestamps as UTC milliseconds."""
    if raw.dtype.is_temporal() or raw.dtype == pl.Null:
        moments = raw.cast(pl.Datetime("ms", getattr(raw.dtype, "time_zone", None)))
    elif time_format is None:
        raise ConfigError(
            f"{raw.name!r} holds {raw.dtype}, for instance {raw.drop_nulls().first()!r}.",
            "Say how to read it: time_format = 's', 'ms', 'us', 'ns' or a pattern such as '%Y-%m-%d %H:%M:%S'.",
        )
    elif time_format in _MS_PER_UNIT:
        ms = (raw.cast(pl.Float64, strict=False) * _MS_PER_UNIT[time_format]).round()
        ms = ms.set((ms.abs() >= _YEAR_10000_MS) | ~ms.is_finite(), None)
        moments = ms.cast(pl.Int64).cast(pl.Datetime("ms"))
    else:
        moments = raw.cast(pl.String).str.strip_chars().str.to_datetime(time_format, time_unit="ms", strict=False)
    if getattr(moments.dtype, "time_zone", None) is None:
        return moments.dt.replace_time_zone("UTC")
    return moments.dt.convert_time_zone("UTC")


def _record(file: str, raw: pl.DataFrame, reasons: pl.Series) -> pl.DataFrame:
    """Rejected rows as they came, pictures and vectors left out."""
    fields = [name for name in raw.columns if name not in (schemas.ROW, schemas.IMAGES, schemas.IMAGE_FEATURES)]
    record = pl.struct(fields).struct.json_encode() if fields else pl.lit(None, pl.String)
    return raw.select(
        pl.lit(file).alias(schemas.FILE),
        pl.col(schemas.ROW).cast(pl.Int64),
        reasons.alias(schemas.REASON),
        record.alias(schemas.RECORD),
    )
