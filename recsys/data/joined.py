"""Tables whose rows belong to items by a key: which rows, in which order, and those that no item asked for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys import schemas
from recsys.data.mapping import JoinedTable
from recsys.data.reader import id_text
from recsys.exceptions import DataError

KEY, RANK, SOURCE = "key", "rank", "source"
_BUFFER_BYTES = 2**20


def open_parquet(file: Path) -> pq.ParquetFile:
    """A Parquet file that is read through a small buffer instead of a whole column of a row group at once."""
    try:
        return pq.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    except pa.ArrowInvalid as error:
        raise DataError(f"{file} is not a Parquet file: {error}") from None


def keyed(table: JoinedTable, file: Path, source: int, rows: pl.DataFrame) -> pl.DataFrame:
    """Whose the rows of one file are: columns ``KEY`` (text), ``RANK``, ``SOURCE`` and :data:`schemas.ROW`.

    Args:
        table: names the columns of key and order.
        file: named in errors.
        source: number of the file.
        rows: these columns of theirs and :data:`schemas.ROW`.

    Raises:
        DataError: the order is not a number everywhere.
    """
    order = pl.col(table.order).cast(pl.Float64, strict=False) if table.order else pl.lit(0.0)
    if table.order and rows.select(order.is_null().any()).item():
        raise DataError(f"{file}: {table.order!r} is not a number everywhere.", "Order its rows by another column.")
    return rows.select(
        id_text(rows[table.key]).alias(KEY),
        order.alias(RANK),
        pl.lit(source).alias(SOURCE),
        pl.col(schemas.ROW).cast(pl.Int64),
    )


def unclaimed(index: pl.DataFrame, found: Collection[str], files: Sequence[Path], reason: str) -> pl.DataFrame:
    """Rows whose key is not among the items ``found`` (``REJECTED``).

    Args:
        index: what :func:`keyed` gave.
        found: keys of all items.
        files: by number.
        reason: why the rows are set aside.
    """
    rest = index.filter(~pl.col(KEY).is_in(list(found)) | pl.col(KEY).is_null())
    names = dict(enumerate(file.name for file in files))
    return rest.select(
        pl.col(SOURCE).replace_strict(names, return_dtype=pl.String).alias(schemas.FILE),
        pl.col(schemas.ROW),
        pl.lit(reason).alias(schemas.REASON),
        pl.struct(pl.col(KEY).alias(schemas.ITEM_ID)).struct.json_encode().alias(schemas.RECORD),
    )
