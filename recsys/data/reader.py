"""What a reader of raw data hands to ingestion: batches in the house's columns, each row with its place in the source.

A reader renames, splits and joins; it judges nothing. Types, missing values and references are checked by
:mod:`recsys.data.validation`, the same way for every source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl
import pyarrow as pa

from recsys import schemas
from recsys.exceptions import DataError

ITEMS_PER_BATCH = 128
ROWS_PER_BATCH = 2**18


def polars_schema(schema: pa.Schema) -> pl.Schema:
    """The same columns as polars types."""
    return pl.DataFrame(pl.from_arrow(schema.empty_table())).schema


REJECTED = polars_schema(schemas.REJECTED)


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows of one source file.

    Attributes:
        table: ``items``, ``users``, ``events`` or ``queries``.
        file: the source file's name inside its folder.
        rows: columns of the table's schema in any type that can be cast to it, and :data:`recsys.schemas.ROW`,
            the 0-based row of the file. Columns that the source does not have are absent.
        time_format: how numbers and text in timestamp columns are read: ``s``, ``ms``, ``us``, ``ns`` since 1970, or a
            strptime format (UTC where it names no zone).
        rejected: what could not even be read (lines with too few fields, missing picture files), in the columns of
            :data:`recsys.schemas.REJECTED`.
    """

    table: str
    file: str
    rows: pl.DataFrame
    time_format: str | None = None
    rejected: pl.DataFrame | None = None


class Reader(Protocol):
    """One raw data set. All items come before the first event and query."""

    def files(self) -> Sequence[Path]:
        """Every table file that is read (pictures in files of their own left out)."""

    def batches(self) -> Iterator[Batch]:
        """The whole data set; an item batch has at most :data:`ITEMS_PER_BATCH` rows."""


def id_text(ids: pl.Series) -> pl.Series:
    """Ids as text: ``7`` and ``7.0`` (what pandas makes of integers with gaps) are the same id; blank becomes null."""
    if ids.dtype.is_float():
        whole = ids.is_finite() & (ids == ids.round())
        ids = (
            ids.fill_nan(None)
            .cast(pl.String)
            .set(whole.fill_null(False), None)
            .fill_null(ids.cast(pl.Int64, strict=False).cast(pl.String))
        )
    return ids.cast(pl.String).str.strip_chars().replace({"": None})


def check_columns(file: Path, wanted: Sequence[str], present: Sequence[str]) -> None:
    """Raise a DataError that names the first column a file lacks."""
    if absent := [name for name in wanted if name not in present]:
        raise DataError(
            f"{file} has no column {absent[0]!r}; it has {', '.join(present)}.", "Correct the mapping's column names."
        )


def with_absent(rows: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
    """``rows`` and, for every name that is none of their columns, a column of nulls."""
    return rows.with_columns(pl.lit(None, pl.String).alias(name) for name in names if name not in rows.columns)


def resolve(folder: Path, pattern: str) -> list[Path]:
    """Files of ``folder`` that match a name or glob, sorted; where there is none, the same name with ``.gz``.

    Raises:
        DataError: nothing matches.
    """
    found = sorted(folder.glob(pattern)) or sorted(folder.glob(pattern + ".gz"))
    if not found:
        present = ", ".join(sorted(file.name for file in folder.glob("*"))[:20]) or "nothing"
        raise DataError(f"No file {pattern!r} in {folder}, which holds: {present}.", "Correct the folder or the name.")
    return found


def fingerprint(folder: Path, files: Sequence[Path]) -> str:
    """Hash of name, size and modification time of the inputs: changes whenever a file may have changed."""
    digest = hashlib.sha256()
    for file in sorted(files):
        stat = file.stat()
        digest.update(f"{file.relative_to(folder).as_posix()}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
