"""Delimited text (csv, tsv, ``::``), plain or gzipped, streamed as text columns; malformed lines are reported."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.csv
from pydantic import Field

from recsys import schemas
from recsys.config import BaseConfig
from recsys.data.reader import REJECTED
from recsys.exceptions import DataError

_BLOCK_BYTES = 2**21  # pyarrow reads up to 32 blocks ahead; a row must fit into one
_UNIT_SEPARATOR = "\x1f"


class Dialect(BaseConfig):
    """How a delimited file is written.

    ``names`` are the columns of a file without a header line; a file may lack the last of them.
    """

    delimiter: str = Field(",", min_length=1)  # of several characters: the file is held in memory once
    quote: str | None = Field('"', min_length=1, max_length=1)
    encoding: str = "utf-8"
    names: tuple[str, ...] = ()


def read_delimited(file: Path, dialect: Dialect) -> Iterator[tuple[pl.DataFrame, pl.DataFrame | None]]:
    """Batches of rows, every column text and empty fields null, with :data:`recsys.schemas.ROW`, the 0-based row.

    Lines with another number of fields come as the second of the pair, in the columns of ``REJECTED``.

    Raises:
        DataError: the file is empty or its encoding is another one.
    """
    malformed: list[tuple[int, str]] = []

    def skip(line: pa.csv.InvalidRow) -> str:
        malformed.append((line.number, line.text.replace(_UNIT_SEPARATOR, dialect.delimiter)))
        return "skip"

    delimiter = dialect.delimiter if len(dialect.delimiter) == 1 else _UNIT_SEPARATOR
    first_line = 1 if dialect.names else 2  # pyarrow counts lines from 1, the header included
    done = reported = 0
    try:
        names = _names(file, dialect)
        stream = pa.csv.open_csv(
            _open(file, dialect),
            pa.csv.ReadOptions(
                use_threads=False,
                block_size=_BLOCK_BYTES,
                column_names=names if dialect.names else None,
                encoding=dialect.encoding,
            ),
            pa.csv.ParseOptions(
                delimiter=delimiter,
                quote_char=dialect.quote or False,
                newlines_in_values=dialect.quote is not None,
                invalid_row_handler=skip,
            ),
            pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
            ),
        )
        for batch in stream:
            frame = pl.DataFrame(pl.from_arrow(batch))
            skipped = np.array([line - first_line for line, _ in malformed], dtype=np.int64)
            rows = _line_numbers(done, len(frame), skipped)
            done += len(frame)
            fresh, reported = malformed[reported:], len(malformed)
            yield frame.with_columns(pl.Series(schemas.ROW, rows)), _report(file, fresh, first_line)
        if reported < len(malformed):
            yield pl.DataFrame(), _report(file, malformed[reported:], first_line)
    except (pa.ArrowInvalid, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{file} cannot be read: {error}", "Correct its delimiter, quote or encoding.") from None


def _open(file: Path, dialect: Dialect) -> pa.NativeFile:
    stream = pa.input_stream(str(file), compression="detect")
    if len(dialect.delimiter) == 1:
        return stream
    with stream:
        return pa.BufferReader(stream.read().replace(dialect.delimiter.encode(), _UNIT_SEPARATOR.encode()))


def _names(file: Path, dialect: Dialect) -> list[str]:
    """Column names, from the dialect or the header; as many as the first line has fields."""
    with io.TextIOWrapper(pa.input_stream(str(file), compression="detect"), encoding=dialect.encoding) as lines:
        if len(dialect.delimiter) > 1:
            fields = lines.readline().rstrip("\r\n").split(dialect.delimiter)
        else:
            fields = next(csv.reader(lines, delimiter=dialect.delimiter, quotechar=dialect.quote), [])
    if dialect.names:
        return list(dialect.names[: len(fields)])
    return [field.lstrip("\ufeff") for field in fields]


def _line_numbers(done: int, count: int, skipped: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where the rows ``done .. done + count`` of the good ones stand among all, given the rows that were skipped."""
    good = np.arange(done, done + count)
    before = np.searchsorted(skipped - np.arange(len(skipped)), good, side="right")
    return good + before


def _report(file: Path, lines: list[tuple[int, str]], first_line: int) -> pl.DataFrame | None:
    if not lines:
        return None
    return pl.DataFrame(
        [
            (file.name, number - first_line, "malformed line", json.dumps({"line": text}, ensure_ascii=False))
            for number, text in lines
        ],
        schema=REJECTED,
        orient="row",
    )
