"""OfflineStore: rows of feature views in Parquet, partitioned by day; what was written once is never changed."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from pathlib import Path

import polars as pl

from feature_store.batch_checks import DRIFT_ROWS, Conformed, file_schema
from feature_store.definitions import CREATED_TIME, EVENT_TIME, FeatureView
from feature_store.durable import sole_writer, sync, write_durably
from feature_store.exceptions import QuarantinedError
from feature_store.offline.commits import Commit, CommitLog, PartFile
from feature_store.statistics import statistics_of

logger = logging.getLogger(__name__)

DAY = "day"
SMALL_FILE = 32 << 20  # bytes; several of one day are worth rewriting as one


@dataclass(frozen=True)
class OfflineStore:
    """One folder for each view and version: ``day=.../*.parquet``, ``commits/``, ``quarantine/``.

    Safe for many processes: writers of a view wait for each other, readers wait for nobody.
    """

    home: Path
    _logs: dict[Path, CommitLog] = field(default_factory=dict)
    _tidied: set[Path] = field(default_factory=set)

    def log(self, view: FeatureView) -> CommitLog:
        """The commits of a view."""
        folder = self.home / view.label
        return self._logs.setdefault(folder, CommitLog(folder))

    def write(self, view: FeatureView, batch: pl.DataFrame) -> Commit:
        """Add rows; on disk and visible, all of them, when it returns.

        Args:
            view: that the rows are of.
            batch: key columns, ``event_time``, the fields, and ``created_time`` where rows became known later than
                their event time. Times are UTC.

        Raises:
            QuarantinedError: the batch is not what the view declares; nothing of it is visible.
        """
        return self.append(view, self.checked(view, batch))

    def checked(self, view: FeatureView, batch: pl.DataFrame) -> pl.DataFrame:
        """The rows of a batch in the columns and types of the files; the first half of :meth:`write`.

        Raises:
            QuarantinedError: the batch is not what the view declares.
        """
        log = self.log(view)
        conformed = Conformed(view, batch, log.statistics)
        if conformed.reasons:
            raise QuarantinedError(view.label, conformed.reasons, self._quarantine(log, batch, conformed.reasons))
        return conformed.rows

    def append(self, view: FeatureView, checked: pl.DataFrame) -> Commit:
        """Write rows that were checked; the second half of :meth:`write`."""
        log, found = self.log(view), {}
        rows = checked.sort(*view.keys, EVENT_TIME, CREATED_TIME, maintain_order=True)
        if len(rows) >= DRIFT_ROWS:
            found = {one.name: statistics_of(one, rows[one.name]) for one in view.fields}
        with sole_writer(log.folder):
            self._remove_unnamed(log)
            sequence = log.last + 1
            commit = Commit(sequence=sequence, added=self._write_days(log, rows, sequence), statistics=found)
            log.append(commit)
        return commit

    def compact(self, view: FeatureView) -> Commit | None:
        """Rewrite the small files of each day as one; the rows stay what they are.

        The files it replaces stay until the next time, for those who are reading them.

        Returns:
            What it did, ``None`` where there was nothing to do.
        """
        log = self.log(view)
        with sole_writer(log.folder):
            for path in log.dropped:
                (log.folder / path).unlink(missing_ok=True)
            added: list[PartFile] = []
            dropped: list[str] = []
            for files in _runs(log.files()):
                rows = self.read(view, files).sort(*view.keys, EVENT_TIME, CREATED_TIME, maintain_order=True)
                added += self._write_days(log, rows, files[-1].sequence)
                dropped += [file.path for file in files]
            if not added:
                return None
            commit = Commit(sequence=log.last + 1, added=tuple(added), dropped=tuple(dropped))
            log.append(commit)
            return commit

    def files(self, view: FeatureView, since: datetime | None = None, until: datetime | None = None) -> list[PartFile]:
        """Files that can hold rows with an event time between two times, both included, as they were written."""
        return [
            file
            for file in self.log(view).files()
            if (since is None or file.last_event >= since) and (until is None or file.first_event <= until)
        ]

    def scan(self, view: FeatureView, files: Iterable[PartFile]) -> pl.LazyFrame:
        """Rows of files, in the order in which they were written."""
        paths = [self.home / view.label / file.path for file in files]
        if not paths:
            return pl.LazyFrame(schema=file_schema(view))
        return pl.scan_parquet(paths, hive_partitioning=False)

    def read(self, view: FeatureView, files: Iterable[PartFile]) -> pl.DataFrame:
        """Rows of files, in memory."""
        return self.scan(view, files).collect()

    def quarantined(self, view: FeatureView) -> dict[str, str]:
        """Batches that were refused, oldest first: file name -> reasons."""
        folder = self.log(view).folder / "quarantine"
        return {file.stem: file.read_text().strip() for file in sorted(folder.glob("*.txt"))}

    def _write_days(self, log: CommitLog, rows: pl.DataFrame, sequence: int) -> tuple[PartFile, ...]:
        days = rows.with_columns(pl.col(EVENT_TIME).dt.date().alias(DAY))
        added = []
        for part in days.partition_by(DAY, maintain_order=True):
            day = part[DAY][0]
            file = log.folder / f"day={day}" / f"{sequence:012d}-{uuid.uuid4().hex[:8]}.parquet"
            is_new = not file.parent.exists()
            file.parent.mkdir(parents=True, exist_ok=True)
            part.drop(DAY).write_parquet(file, row_group_size=100_000)
            sync(file)
            sync(file.parent)
            if is_new:
                sync(log.folder)
            extent = part.select(
                first=pl.col(EVENT_TIME).min(), last=pl.col(EVENT_TIME).max(), created=pl.col(CREATED_TIME).max()
            ).row(0)
            added.append(
                PartFile(
                    path=file.relative_to(log.folder).as_posix(),
                    day=day,
                    sequence=sequence,
                    rows=len(part),
                    bytes=file.stat().st_size,
                    first_event=extent[0],
                    last_event=extent[1],
                    last_created=extent[2],
                )
            )
        return tuple(added)

    def _remove_unnamed(self, log: CommitLog) -> None:
        """Remove what writers left that were killed before their commit; only for who holds the writer lock."""
        if log.folder not in self._tidied:
            named = {*(file.path for file in log.files()), *log.dropped}
            for file in log.folder.glob("day=*/*.parquet"):
                if file.relative_to(log.folder).as_posix() not in named:
                    file.unlink()
            self._tidied.add(log.folder)

    def _quarantine(self, log: CommitLog, batch: pl.DataFrame, reasons: Iterable[str]) -> Path:
        folder = log.folder / "quarantine"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{datetime.now().astimezone():%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}"
        batch.write_parquet(folder / f"{name}.parquet")
        write_durably(folder / f"{name}.txt", "\n".join(reasons) + "\n")
        logger.warning("%s: a batch of %d rows was refused: %s", log.folder.name, len(batch), "; ".join(reasons))
        return folder


def _runs(files: Sequence[PartFile]) -> Iterator[list[PartFile]]:
    """Small files of one day with no large one between them: only then the order of their rows stays what it was."""
    for _, same_day in groupby(sorted(files, key=lambda file: (file.day, file.sequence)), lambda file: file.day):
        for is_small, run in groupby(same_day, lambda file: file.bytes < SMALL_FILE):
            members = list(run)
            if is_small and len(members) > 1:
                yield members
