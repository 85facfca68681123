"""materialize and push: rows of the offline store become the records that requests read.

A materialisation takes the files that were written since its watermark, one after the other, and moves the watermark
when all rows of a commit are in the online store. Killed at any moment, it takes the last commit again: a record that
is already there supersedes itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from feature_store.definitions import CREATED_TIME, TIME, FeatureView
from feature_store.exceptions import StoreError
from feature_store.offline.commits import Commit
from feature_store.offline.store import OfflineStore
from feature_store.online.base import OnlineStore
from feature_store.records import pack

BATCH_ROWS = 50_000  # in one transaction


@dataclass(frozen=True)
class Materialized:
    """What a materialisation did.

    Attributes:
        view: label of the view.
        commits: that were taken.
        rows: that were read.
        stored: records that superseded what was there.
        watermark: last commit that is now wholly online.
    """

    view: str
    commits: int
    rows: int
    stored: int
    watermark: int


def materialize(offline: OfflineStore, online: OnlineStore, view: FeatureView) -> Materialized:
    """Bring an online store up to date with the offline store; a second run finds nothing to do.

    Raises:
        StoreError: a file is missing or damaged, or the online store cannot be written.
    """
    watermark = online.watermark(view)
    commits = rows = stored = 0
    pending = [file for file in offline.files(view) if file.sequence > watermark]
    for sequence, files in itertools.groupby(pending, lambda file: file.sequence):
        for file in files:
            for batch in _batches(offline, view, file.path):
                stored += online.put_many(view, *pack(view, batch))
                rows += len(batch)
        online.advance(view, sequence)
        watermark, commits = sequence, commits + 1
    if commits:
        online.settle(view)
    return Materialized(view.label, commits, rows, stored, watermark)


def push(
    offline: OfflineStore, online: OnlineStore, view: FeatureView, batch: pl.DataFrame, now: datetime | None = None
) -> Commit:
    """Write rows to both stores; when it returns they are durable and the next request reads them.

    A push that is killed between the two stores was never acknowledged, and the next materialisation completes it.

    Args:
        offline: keeps them for training.
        online: serves them.
        view: that they are of.
        batch: as for :meth:`OfflineStore.write`; ``created_time`` is the clock where it is not given.
        now: the clock.

    Raises:
        QuarantinedError: the batch is not what the view declares; nothing of it is visible.
        StoreError: the online store cannot be written.
    """
    if CREATED_TIME not in batch.columns:
        clock = pl.lit(now or datetime.now(UTC), TIME)
        batch = batch.with_columns(clock.alias(CREATED_TIME))
    rows = offline.checked(view, batch)
    commit = offline.append(view, rows)
    online.put_many(view, *pack(view, rows))
    return commit


def _batches(offline: OfflineStore, view: FeatureView, path: str) -> Iterator[pl.DataFrame]:
    file = offline.home / view.label / path
    try:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=BATCH_ROWS):
            yield pl.DataFrame(batch)
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{file} cannot be read: {error}", "Restore it from a backup.") from error
