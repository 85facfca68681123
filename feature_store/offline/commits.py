"""Which files of a feature view exist: a numbered file for each write, that names the Parquet files it added.

``<folder>/commits/000000000007.json`` appears when its files are on disk, so a reader sees a write whole or not at all.
A file that no commit names is what a killed writer left, and is removed by the next one.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from feature_store.definitions import Definition
from feature_store.durable import sync, write_durably
from feature_store.exceptions import StoreError
from feature_store.statistics import Statistics


class PartFile(Definition):
    """A Parquet file with rows of one day, sorted by key and time."""

    path: str  # in the folder of the view
    day: date
    sequence: int  # of the write that its last rows came with
    rows: int
    bytes: int
    first_event: datetime
    last_event: datetime
    last_created: datetime


class Commit(Definition):
    """One write, or a rewriting of small files as a large one.

    Attributes:
        sequence: its number, from 1 on.
        added: files that are there from now on.
        dropped: files that ``added`` contains.
        statistics: of the write, by field; empty for small ones.
    """

    sequence: int
    added: tuple[PartFile, ...]
    dropped: tuple[str, ...] = ()
    statistics: dict[str, Statistics] = Field(default_factory=dict)

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.added)


@dataclass
class _State:
    last: int = 0
    files: dict[str, PartFile] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    statistics: dict[str, Statistics] = field(default_factory=dict)


class CommitLog:
    """Reads and extends the commits of one view.

    Args:
        folder: of the view; need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._state = _State()
        self._reading = threading.Lock()

    def files(self) -> list[PartFile]:
        """Files that hold the rows there are now, in the order in which they were written."""
        return sorted(self._read().files.values(), key=lambda file: (file.sequence, file.day))

    @property
    def last(self) -> int:
        """Sequence number of the last commit, 0 where there is none."""
        return self._read().last

    @property
    def statistics(self) -> dict[str, Statistics]:
        """Of the last write that had any."""
        return self._read().statistics

    @property
    def dropped(self) -> list[str]:
        """Files that a later one contains, and that nobody reads who starts now."""
        return self._read().dropped

    def append(self, commit: Commit) -> None:
        """Make a commit visible; its files are on disk. Only for who holds the folder's writer lock."""
        file = self._file(commit.sequence)
        if not file.parent.exists():
            file.parent.mkdir(parents=True)
            sync(self.folder)
        write_durably(file, commit.model_dump_json(indent=1))

    def _file(self, sequence: int) -> Path:
        return self.folder / "commits" / f"{sequence:012d}.json"

    def _read(self) -> _State:
        with self._reading:
            while (file := self._file(self._state.last + 1)).exists():
                self._take(_opened(file))
            return self._state

    def _take(self, commit: Commit) -> None:
        state = self._state
        state.files = {path: file for path, file in state.files.items() if path not in commit.dropped}
        state.files |= {file.path: file for file in commit.added}
        state.dropped = [*state.dropped, *commit.dropped]
        state.statistics = commit.statistics or state.statistics
        state.last = commit.sequence


def _opened(file: Path) -> Commit:
    try:
        return Commit.model_validate_json(file.read_text())
    except ValidationError as error:
        raise StoreError(f"{file} cannot be read: {error}", "Restore it from a backup.") from None
