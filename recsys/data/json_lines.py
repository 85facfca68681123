"""JSON lines (.jsonl), plain or gzipped, streamed as text columns; malformed lines are reported."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from recsys import schemas
from recsys.data.reader import REJECTED
from recsys.exceptions import DataError

SUFFIX = ".jsonl"


def is_json_lines(file: Path) -> bool:
    """Whether the name of a file says that it holds JSON lines."""
    return file.name.removesuffix(".gz").endswith(SUFFIX)


def read_json_lines(file: Path, size: int) -> Iterator[tuple[pl.DataFrame, pl.DataFrame | None]]:
    """Batches of rows with :data:`recsys.schemas.ROW`, the 0-based row.

    Columns are the keys that any row of the batch has. As in delimited text every value is text: numbers as they are
    written in JSON, objects as JSON, empty text null. A key that holds a list somewhere is a list of such texts.
    Lines that are no JSON object come as the second of the pair, in the columns of ``REJECTED``.

    Args:
        file: one object a line.
        size: rows of a batch.

    Raises:
        DataError: the file is not UTF-8, or not the gzip file its name promises.
    """
    rows: list[dict[str, Any]] = []
    malformed: list[tuple[str, int, str, str]] = []
    try:
        with io.TextIOWrapper(pa.input_stream(str(file), compression="detect"), encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines):
                row = _object(line)
                if row is not None:
                    rows.append({**row, schemas.ROW: number})
                elif line.strip():
                    record = json.dumps({"line": line.rstrip("\r\n")}, ensure_ascii=False)
                    malformed.append((file.name, number, "malformed line", record))
                if len(rows) + len(malformed) == size:
                    yield _frames(rows, malformed)
                    rows, malformed = [], []
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"{file} cannot be read: {error}", "Save it as UTF-8, plain or gzipped.") from None
    if rows or malformed:
        yield _frames(rows, malformed)


def _object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _frames(
    rows: Sequence[dict[str, Any]], malformed: Sequence[tuple[str, int, str, str]]
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    columns = []
    for name in dict.fromkeys(key for row in rows for key in row if key != schemas.ROW):
        values = [row.get(name) for row in rows]
        if any(isinstance(value, list) for value in values):
            lists = [value if isinstance(value, list) or value is None else [value] for value in values]
            texts = [None if value is None else [_text(element) for element in value] for value in lists]
            columns.append(pl.Series(name, texts, pl.List(pl.String)))
        else:
            columns.append(pl.Series(name, [_text(value) for value in values], pl.String))
    numbers = pl.Series(schemas.ROW, [row[schemas.ROW] for row in rows], pl.Int64)
    rejected = pl.DataFrame(malformed, REJECTED, orient="row") if malformed else None
    return pl.DataFrame([*columns, numbers]), rejected


def _text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
