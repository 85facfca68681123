"""One data set in the house's own form: a directory of Parquet files with the schemas of :mod:`recsys.schemas`.

``items.parquet`` (pictures inside, in small row groups), ``events.parquet``, ``users.parquet``, ``queries.parquet`` and
``rejected.parquet``. Reading items never loads the pictures; they are streamed or fetched by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys import schemas
from recsys.types import IdMap, Image

TABLES: Mapping[str, pa.Schema] = {
    "items": schemas.ITEMS,
    "users": schemas.USERS,
    "events": schemas.EVENTS,
    "queries": schemas.QUERIES,
    "rejected": schemas.REJECTED,
}
ITEMS_PER_GROUP = 128


class Dataset:
    """Reader of one data set. An item's *row* is its position in ``items.parquet``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def items(self) -> pl.DataFrame:
        """All items without their pictures, in row order, with a column ``n_images``."""
        columns = [name for name in schemas.ITEMS.names if name != schemas.IMAGES]
        table = pq.read_table(self.path / "items.parquet", columns=columns)
        counts = [
            pa.compute.fill_null(pa.compute.list_value_length(batch.column(0)), 0)
            for batch in self._file("items").iter_batches(ITEMS_PER_GROUP, columns=[schemas.IMAGES])
        ]
        frame = pl.DataFrame(pl.from_arrow(table))
        return frame.with_columns(pl.Series("n_images", pa.chunked_array(counts, pa.int32()).to_numpy()))

    @cached_property
    def ids(self) -> IdMap:
        return IdMap.of(self.items[schemas.ITEM_ID])

    @cached_property
    def events(self) -> pl.DataFrame:
        """All events, each user's oldest first."""
        frame = self._frame("events")
        return frame.sort(schemas.USER_ID, schemas.TIMESTAMP, schemas.ORDER, maintain_order=True)

    @cached_property
    def users(self) -> pl.DataFrame:
        return self._frame("users")

    @cached_property
    def queries(self) -> pl.DataFrame:
        return self._frame("queries")

    @cached_property
    def rejected(self) -> pl.DataFrame:
        return self._frame("rejected")

    @property
    def has_timestamps(self) -> bool:
        return not self.events.is_empty() and self.events[schemas.TIMESTAMP].null_count() == 0

    def covers(self, rows: Sequence[int]) -> list[Image | None]:
        """First pictures of the items at ``rows``, ``None`` where an item has none."""
        wanted = np.asarray(rows, dtype=np.int64)
        file = self._file("items")
        found: dict[int, Image | None] = {}
        start = 0
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            inside = wanted[(wanted >= start) & (wanted < stop)]
            if inside.size:
                column = file.read_row_group(group, columns=[schemas.IMAGES]).column(0)
                found.update({int(row): _first(column[int(row) - start].as_py()) for row in inside})
            start = stop
        return [found[int(row)] for row in wanted]

    def iter_covers(self, batch_size: int = ITEMS_PER_GROUP) -> Iterator[list[Image | None]]:
        """All first pictures in row order, a batch at a time."""
        for batch in self._file("items").iter_batches(batch_size, columns=[schemas.IMAGES]):
            yield [_first(images.as_py()) for images in batch.column(0)]

    def _file(self, table: str) -> pq.ParquetFile:
        return pq.ParquetFile(self.path / f"{table}.parquet")

    def _frame(self, table: str) -> pl.DataFrame:
        path = self.path / f"{table}.parquet"
        arrow = pq.read_table(path) if path.exists() else TABLES[table].empty_table()
        return pl.DataFrame(pl.from_arrow(arrow))


class DatasetWriter:
    """Streams tables into a data set directory. Missing columns become null; every table exists at the end.

    Used as a context manager. The directory is a work directory: whoever owns it publishes it when it is whole.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.counts = dict.fromkeys(TABLES, 0)
        self._writers = {
            name: pq.ParquetWriter(path / f"{name}.parquet", schema, compression="zstd")
            for name, schema in TABLES.items()
        }

    def write(self, table: str, rows: pa.Table | pl.DataFrame | Sequence[Mapping[str, object]]) -> None:
        """Append rows to one of :data:`TABLES`."""
        schema = TABLES[table]
        if isinstance(rows, pl.DataFrame):
            rows = rows.to_arrow()
        if isinstance(rows, pa.Table):
            columns = [
                rows.column(field.name).cast(field.type)
                if field.name in rows.column_names
                else pa.nulls(len(rows), field.type)
                for field in schema
            ]
            arrow = pa.Table.from_arrays(columns, schema=schema)
        else:
            arrow = pa.Table.from_pylist(list(rows), schema=schema)
        self._writers[table].write_table(arrow, row_group_size=ITEMS_PER_GROUP if table == "items" else 2**20)
        self.counts[table] += len(arrow)

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._writers.values():
            writer.close()


def _first(images: list[Image] | None) -> Image | None:
    return images[0] if images else None
