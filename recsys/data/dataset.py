"""One data set in the house's own form: a directory of Parquet files with the schemas of :mod:`recsys.schemas`.

``items.parquet`` (pictures inside, in small row groups), ``events.parquet``, ``users.parquet``, ``queries.parquet`` and
``rejected.parquet``. Reading items never loads the pictures nor their vectors; they are streamed or fetched by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys import schemas
from recsys.types import FloatArray, IdMap, Image, RowArray

TABLES: Mapping[str, pa.Schema] = {
    "items": schemas.ITEMS,
    "users": schemas.USERS,
    "events": schemas.EVENTS,
    "queries": schemas.QUERIES,
    "rejected": schemas.REJECTED,
}
ITEMS_PER_GROUP = 128
_HEAVY = (schemas.IMAGES, schemas.IMAGE_FEATURES)  # columns that are read by row only


class Dataset:
    """Reader of one data set. An item's *row* is its position in ``items.parquet``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def items(self) -> pl.DataFrame:
        """All items without pictures and their vectors, in row order, with a column ``n_images``."""
        columns = [name for name in schemas.ITEMS.names if name not in _HEAVY]
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
        found: list[Image | None] = [None] * len(rows)
        for places, images in self._at(rows, schemas.IMAGES):
            for place, several in zip(places, images, strict=True):
                found[place] = _first(several.as_py())
        return found

    def iter_covers(self, batch_size: int = ITEMS_PER_GROUP) -> Iterator[list[Image | None]]:
        """All first pictures in row order, a batch at a time."""
        for batch in self._file("items").iter_batches(batch_size, columns=[schemas.IMAGES]):
            yield [_first(images.as_py()) for images in batch.column(0)]

    def image_features(self, rows: Sequence[int] | RowArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Vectors of the covers that the data set came with.

        Args:
            rows: of n items, in any order.

        Returns:
            The vectors, float32 ``[n, feature_width]``, zero where an item has none, and whether it has one, ``[n]``.

        Raises:
            IndexError: there is no such row.
        """
        vectors = np.zeros((len(rows), self.feature_width), np.float32)
        present = np.zeros(len(rows), np.bool_)
        if self.feature_width:
            for places, column in self._at(rows, schemas.IMAGE_FEATURES):
                given = places[column.is_valid().to_numpy(zero_copy_only=False)]
                vectors[given] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, self.feature_width)
                present[given] = True
        return vectors, present

    @cached_property
    def feature_width(self) -> int:
        """Width of the vectors of :meth:`image_features`, 0 where no item has one."""
        for batch in self._file("items").iter_batches(ITEMS_PER_GROUP, columns=[schemas.IMAGE_FEATURES]):
            widths = batch.column(0).drop_null().value_lengths()
            if len(widths):
                return int(widths[0].as_py())
        return 0

    def _at(self, rows: Sequence[int] | RowArray, column: str) -> Iterator[tuple[npt.NDArray[np.int64], pa.ListArray]]:
        """Values of a column of ``items.parquet`` at ``rows``, a row group at a time, with their places in ``rows``."""
        wanted = np.asarray(rows, dtype=np.int64)
        file = self._file("items")
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        if wanted.size and (wanted.min() < 0 or wanted.max() >= starts[-1]):
            raise IndexError(f"rows {wanted.min()} to {wanted.max()} of {starts[-1]} items")
        groups = np.searchsorted(starts, wanted, side="right") - 1
        for group in np.unique(groups):
            places = np.flatnonzero(groups == group)
            values = file.read_row_group(group, columns=[column]).column(0).combine_chunks()
            yield places, values.take(pa.array(wanted[places] - starts[group]))

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
