"""What published layouts have in common: exposures with several outcomes, moments of either unit, names that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from recsys import schemas
from recsys.data.mapping import Names

_FIRST_MS = 100_000_000_000  # as milliseconds 1973, as seconds the year 5138


def same(*names: str) -> dict[str, Names]:
    """Columns of a mapping for rows that have our names already."""
    return {name: (name,) for name in names}


def one_event_a_row(exposures: pl.DataFrame, happened: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """Rows that say what came of an exposure, as one row for each event, in the order of ``happened``.

    Args:
        exposures: one row an exposure.
        happened: event type = whether there was such an event; null is no.
    """
    kinds = [pl.when(condition).then(pl.lit(kind)) for kind, condition in happened.items()]
    events = exposures.with_columns(pl.concat_list(kinds).list.drop_nulls().alias(schemas.EVENT_TYPE))
    return events.explode(schemas.EVENT_TYPE).filter(pl.col(schemas.EVENT_TYPE).is_not_null())


def milliseconds(moments: pl.Expr) -> pl.Expr:
    """Seconds or milliseconds since 1970, told apart by their size, as milliseconds; null where not a number."""
    numbers = moments.cast(pl.Float64, strict=False).fill_nan(None)
    return pl.when(numbers < _FIRST_MS).then(numbers * 1000).otherwise(numbers)


def number(column: str) -> pl.Expr:
    """A column as numbers; null where a value is none (``nan`` and ``None`` as text too)."""
    return pl.col(column).cast(pl.Float64, strict=False).fill_nan(None)


def first_of(rows: pl.DataFrame, names: Sequence[str]) -> pl.Expr:
    """The column that goes by one of several names; null where there is none."""
    present = [name for name in names if name in rows.columns]
    return pl.coalesce(present) if present else pl.lit(None, pl.String)
