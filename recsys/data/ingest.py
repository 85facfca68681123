"""Ingestion: from a reader of raw data to a data set that keeps the contract, a batch at a time.

What cannot be kept is written to ``rejected.parquet`` with file, row and reason, and counted.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from recsys import schemas
from recsys.config import BaseConfig
from recsys.data.dataset import DatasetWriter
from recsys.data.media import ImageLimits
from recsys.data.reader import Reader
from recsys.data.validation import Validator
from recsys.exceptions import DataError
from recsys.progress import track


class IngestConfig(BaseConfig):
    """What is accepted."""

    images: ImageLimits = ImageLimits()


class IngestSummary(BaseConfig):
    """What became of the raw data."""

    kept: dict[str, int]  # table -> rows
    rejected: dict[str, dict[str, int]]  # table -> reason -> rows (or pictures, whose items may have been kept)
    with_picture: int  # items
    with_text: int  # items that have a title or a text
    pictures: int
    with_features: int  # items that came with a vector of their picture


def ingest(reader: Reader, directory: Path, config: IngestConfig, now: datetime | None = None) -> IngestSummary:
    """Read, validate and write a whole data set; memory does not grow with the number of pictures.

    Args:
        reader: the raw data.
        directory: becomes a :class:`recsys.data.dataset.Dataset`; what is in it is overwritten.
        config: what is accepted.
        now: timestamps after this moment are rejected; default: the present.

    Raises:
        DataError: the raw data cannot be read, or nothing of a table is acceptable.
    """
    validator = Validator(config.images, now or datetime.now(UTC))
    kept: Counter[str] = Counter()
    rejected: dict[str, Counter[str]] = {"items": Counter()}
    have: Counter[str] = Counter(picture=0, text=0, pictures=0, features=0)
    with DatasetWriter(directory) as writer:
        for batch in track(reader.batches(), "Ingesting batches"):
            rows, refused = validator.validate(batch)
            if len(rows):
                writer.write(batch.table, rows)
            if len(refused):
                writer.write("rejected", refused)
            kept[batch.table] += len(rows)
            rejected.setdefault(batch.table, Counter()).update(refused[schemas.REASON])
            if batch.table == "items":
                have.update(_contents(rows))
    for table, reasons in rejected.items():
        if not kept[table]:
            why = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common()) or "there are none"
            raise DataError(f"None of the {table} can be used: {why}.", "Correct the data or the mapping.")
    return IngestSummary(
        kept=dict(kept),
        rejected={table: dict(reasons) for table, reasons in rejected.items() if reasons},
        with_picture=have["picture"],
        with_text=have["text"],
        pictures=have["pictures"],
        with_features=have["features"],
    )


def _contents(items: pl.DataFrame) -> dict[str, int]:
    pictures = pl.col(schemas.IMAGES).list.len()
    text = pl.coalesce(schemas.TITLE, schemas.TEXT)
    return items.select(
        picture=(pictures > 0).sum(),
        text=text.is_not_null().sum(),
        pictures=pictures.sum(),
        features=pl.col(schemas.IMAGE_FEATURES).is_not_null().sum(),
    ).row(0, named=True)
