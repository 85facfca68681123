"""Vectors of pictures that stand in a table of their own, joined by item id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from recsys import schemas
from recsys.data.joined import KEY, RANK, keyed, open_parquet, unclaimed
from recsys.data.mapping import VectorTable
from recsys.data.reader import check_columns, polars_schema, resolve
from recsys.exceptions import DataError

VECTOR = polars_schema(schemas.ITEMS)[schemas.IMAGE_FEATURES]


class VectorLookup:
    """Finds the vector of each item's cover in a :class:`VectorTable`, which it holds in memory whole."""

    def __init__(self, folder: Path, config: VectorTable) -> None:
        self._config = config
        self.files = [file for pattern in config.files for file in resolve(folder, pattern)]
        self._found: set[str] = set()
        rows = pl.concat([self._read(number) for number in range(len(self.files))])
        self._index = rows.drop(schemas.IMAGE_FEATURES)
        self._covers = (
            rows.sort(KEY, RANK, maintain_order=True)
            .select(KEY, schemas.IMAGE_FEATURES)
            .unique(KEY, keep="first", maintain_order=True)
        )

    def of(self, keys: Sequence[str | None]) -> pl.Series:
        """The vector of each item, null where it has none, in the type of :data:`schemas.ITEMS`."""
        self._found.update(key for key in keys if key is not None)
        wanted = pl.DataFrame({KEY: keys}, schema={KEY: pl.String})
        return wanted.join(self._covers, on=KEY, how="left", maintain_order="left")[schemas.IMAGE_FEATURES]

    def leftovers(self) -> pl.DataFrame:
        """Vectors of items that nobody asked for (``REJECTED``)."""
        return unclaimed(self._index, self._found, self.files, "image_features of an unknown item")

    def _read(self, source: int) -> pl.DataFrame:
        """Key, order, row and vector of one file of the table."""
        config, file = self._config, self.files[source]
        parquet = open_parquet(file)
        columns = [name for name in (config.key, config.order, config.vector) if name is not None]
        check_columns(file, columns, parquet.schema_arrow.names)
        frame = pl.DataFrame(pl.from_arrow(parquet.read(columns=columns))).with_row_index(schemas.ROW)
        try:
            vectors = frame[config.vector].cast(VECTOR)
        except pl.exceptions.PolarsError as error:
            kind = frame.schema[config.vector]
            raise DataError(f"{file}: {config.vector!r} holds {kind}, not lists of numbers.") from error
        return keyed(config, file, source, frame).with_columns(vectors.alias(schemas.IMAGE_FEATURES))
