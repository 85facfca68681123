"""Pictures that do not stand in the item's row: files named by a path, and tables of pictures joined by item id."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys import schemas
from recsys.data.delimited import read_delimited
from recsys.data.joined import KEY, RANK, SOURCE, keyed, open_parquet, unclaimed
from recsys.data.mapping import PictureTable
from recsys.data.reader import REJECTED, check_columns, resolve
from recsys.types import Image

_PICTURES_AT_ONCE = 64
_PATH = "path"


def read_picture(folder: Path, path: str) -> Image | str:
    """Bytes of the file at ``path`` inside ``folder``, or the reason why there are none."""
    inside = os.path.normpath(path)
    if Path(inside).is_absolute() or inside.startswith(".."):
        return "picture path outside the folder"
    try:
        return (folder / inside).read_bytes()
    except OSError:
        return "no picture file"


class PictureLookup:
    """Finds the pictures of items in a :class:`PictureTable`, holding keys and paths in memory but no pictures.

    Quickest where the table follows the order of the items; any order gives the same result.
    """

    def __init__(self, folder: Path, config: PictureTable) -> None:
        self._config = config
        self._folder = folder
        self.files = [file for pattern in config.files for file in resolve(folder, pattern)]
        self._cursors: dict[int, _Cursor] = {}
        self._found: set[str] = set()
        self._malformed: list[pl.DataFrame] = []
        index = pl.concat([self._read(number) for number in range(len(self.files))], how="vertical_relaxed")
        self._index = index.sort(KEY, RANK, maintain_order=True)

    def of(self, keys: Sequence[str | None]) -> tuple[list[list[Image]], pl.DataFrame]:
        """Pictures of each item, cover first, and the picture files that could not be read (``REJECTED``)."""
        self._found.update(key for key in keys if key is not None)
        position = pl.DataFrame(
            {KEY: keys, "position": range(len(keys))}, schema={KEY: pl.String, "position": pl.Int64}
        )
        wanted = self._index.join(position, on=KEY, how="inner", maintain_order="left")
        contents: dict[tuple[int, int], Image | str] = {}
        for source, number in enumerate(self.files):
            rows = wanted.filter(pl.col(SOURCE) == source)
            if rows.is_empty():
                continue
            if _PATH in rows.columns and rows[_PATH].null_count() < len(rows):
                found: Iterator[Image | str] = (read_picture(self._folder, path or "") for path in rows[_PATH])
                contents.update(zip(((source, row) for row in rows[schemas.ROW]), found, strict=True))
            else:
                cursor = self._cursors.setdefault(source, _Cursor(open_parquet(number), self._config.image))
                contents.update(((source, row), cursor.at(row)) for row in rows[schemas.ROW].sort())
        images: list[list[Image]] = [[] for _ in keys]
        failed = []
        for item, key, source, row in wanted.select("position", KEY, SOURCE, schemas.ROW).iter_rows():
            content = contents[source, row]
            if isinstance(content, str):
                failed.append((self.files[source].name, row, content, json.dumps({schemas.ITEM_ID: key})))
            else:
                images[item].append(content)
        return images, pl.DataFrame(failed, schema=REJECTED, orient="row")

    def leftovers(self) -> pl.DataFrame:
        """Pictures of items that nobody asked for, and malformed lines (``REJECTED``)."""
        rest = unclaimed(self._index, self._found, self.files, "picture of an unknown item")
        return pl.concat([rest, *self._malformed])

    def _read(self, source: int) -> pl.DataFrame:
        """Key, order, path (where pictures are files) and row of one file of the table."""
        config, file = self._config, self.files[source]
        columns = [config.key] if config.order is None else [config.key, config.order]
        if file.suffix == ".parquet":
            schema = open_parquet(file).schema_arrow
            check_columns(file, [*columns, config.image], schema.names)
            kind = schema.field(config.image).type
            is_path = pa.types.is_string(kind) or pa.types.is_large_string(kind)
            table = pq.read_table(file, columns=[*columns, config.image] if is_path else columns)
            frame = pl.DataFrame(pl.from_arrow(table)).with_row_index(schemas.ROW)
        else:
            is_path = True
            parts = list(read_delimited(file, config.csv))
            self._malformed.extend(malformed for _, malformed in parts if malformed is not None)
            frame = pl.concat([rows for rows, _ in parts if not rows.is_empty()])
            check_columns(file, [*columns, config.image], frame.columns)
        path = frame[config.image] if is_path else pl.lit(None, pl.String)
        return keyed(config, file, source, frame).with_columns(path.alias(_PATH))


class _Cursor:
    """Reads single rows of a Parquet column, cheaply where they are asked for in ascending order."""

    def __init__(self, file: pq.ParquetFile, column: str) -> None:
        self._file = file
        self._column = column
        self._batch = pa.array([], pa.binary())
        self._start = 0
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        self._group_starts = np.concatenate([[0], np.cumsum(sizes)])
        self._seek(0)

    def at(self, row: int) -> Image:
        group = int(np.searchsorted(self._group_starts, row, side="right")) - 1
        if row < self._start or self._group_starts[group] >= self._start + len(self._batch):
            self._seek(group)
        while row >= self._start + len(self._batch):
            self._start += len(self._batch)
            self._batch = next(self._batches).column(0)
        return self._batch[row - self._start].as_py() or b""

    def _seek(self, group: int) -> None:
        self._batches = self._file.iter_batches(
            _PICTURES_AT_ONCE, row_groups=range(group, self._file.num_row_groups), columns=[self._column]
        )
        self._start = int(self._group_starts[group])
        self._batch = pa.array([], pa.binary())
