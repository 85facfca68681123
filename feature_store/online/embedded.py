"""LmdbStore: the embedded online store. One folder, one writer at a time, any number of reading processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import lmdb
import numpy as np

from feature_store.definitions import Array, Definition, FeatureView
from feature_store.exceptions import StoreError
from feature_store.recency import supersedes
from feature_store.records import LONGEST_KEY, Key, absent

WATERMARK, LAYOUT = b"watermark", b"layout"


class LmdbConfig(Definition):
    """Size of the address range that is set aside (not of the file), and how many views fit."""

    map_size_gb: int = 64
    max_views: int = 256
    max_readers: int = 512


@dataclass(frozen=True)
class _Table:
    """A view's place in the environment that this process has open."""

    environment: lmdb.Environment
    rows: lmdb._Database
    facts: lmdb._Database


class LmdbStore:
    """See :class:`~feature_store.online.base.OnlineStore`; every write is synced to disk before it returns.

    The environment is opened at the first use in each process, since one that was opened before a fork cannot be used
    after it. Open a folder once in a process.

    Args:
        folder: made if it is missing.
        config: sizes.
    """

    def __init__(self, folder: Path, config: LmdbConfig | None = None) -> None:
        self.folder = folder
        self.config = config or LmdbConfig()
        self._opening = threading.Lock()
        self._process = 0
        self._environment: lmdb.Environment | None = None
        self._tables: dict[str, _Table] = {}

    def put_many(self, view: FeatureView, keys: Sequence[Key], records: Array) -> int:
        return self.write(view, keys, records, {})

    def write(self, view: FeatureView, keys: Sequence[Key], records: Array, facts: dict[bytes, bytes]) -> int:
        """Store records and facts about the view in one transaction; see :meth:`put_many`."""
        table = self.table(view)
        try:
            with table.environment.begin(table.rows, write=True, buffers=True) as transaction:
                pairs = list(zip(keys, _packed(view, records), strict=True))
                if transaction.stat(table.rows)["entries"]:
                    pairs = [(key, record) for key, record in pairs if _is_newer(transaction, key, record)]
                with transaction.cursor(table.rows) as cursor:
                    stored = cursor.putmulti(pairs)[0]
                for name, fact in facts.items():
                    transaction.put(_fact(view, name), fact, db=table.facts)
        except lmdb.Error as error:
            raise _refusal(self.folder, error) from error
        assert stored == len(pairs)  # putmulti stops without an error where it cannot go on
        return stored

    def get_many(self, view: FeatureView, keys: Sequence[Key]) -> Array:
        table = self.table(view)
        with table.environment.begin(table.rows, buffers=True) as transaction:
            return _records(view, transaction, keys)

    def read(self, view: FeatureView, keys: Sequence[Key], fact: bytes) -> tuple[bytes | None, Array | None]:
        """A fact about the view and its records at one moment; no records where there is none at all."""
        table = self.table(view)
        with table.environment.begin(table.rows, buffers=True) as transaction:
            found = transaction.get(_fact(view, fact), db=table.facts)
            records = _records(view, transaction, keys) if transaction.stat(table.rows)["entries"] else None
            return None if found is None else bytes(found), records

    def all(self, view: FeatureView) -> tuple[list[Key], Array]:
        """Every key, sorted, and its record."""
        table = self.table(view)
        with table.environment.begin(table.rows) as transaction:
            pairs = list(transaction.cursor(table.rows))
        return [key for key, _ in pairs], np.frombuffer(b"".join(record for _, record in pairs), view.record)

    def forget(self, view: FeatureView, keys: Sequence[Key], records: Array, facts: dict[bytes, bytes]) -> None:
        """Remove records that are still these, and remember facts, in one transaction."""
        table = self.table(view)
        with table.environment.begin(table.rows, write=True) as transaction:
            for key, record in zip(keys, _packed(view, records), strict=True):
                if transaction.get(key) == record:
                    transaction.delete(key)
            for name, fact in facts.items():
                transaction.put(_fact(view, name), fact, db=table.facts)

    def watermark(self, view: FeatureView) -> int:
        return int(self.read(view, [], WATERMARK)[0] or 0)

    def advance(self, view: FeatureView, watermark: int) -> None:
        self.write(view, [], np.empty(0, view.record), {WATERMARK: str(watermark).encode()})

    def settle(self, view: FeatureView) -> None:
        """Nothing to do: the tree is always in order."""

    def close(self) -> None:
        with self._opening:
            if self._environment is not None:
                self._environment.close()
            self._environment, self._tables = None, {}

    def table(self, view: FeatureView) -> _Table:
        """Where a view's records are; made at the first use.

        Raises:
            StoreError: there are records of another layout under its name and version.
        """
        if self._process == os.getpid() and (table := self._tables.get(view.hash + view.label)) is not None:
            return table
        with self._opening:
            if self._process != os.getpid() or self._environment is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                if self._environment is not None:  # of the process that was forked: lmdb lets go of it, and no more
                    self._environment.close()
                self._environment = self._opened()
                self._process, self._tables = os.getpid(), {}
            environment = self._environment
            rows = environment.open_db(view.label.encode())
            table = _Table(environment, rows, environment.open_db(b".facts"))
            self._check_layout(view, table)
            self._tables[view.hash + view.label] = table
            return table

    def _opened(self) -> lmdb.Environment:
        try:
            return lmdb.open(
                str(self.folder),
                map_size=self.config.map_size_gb << 30,
                max_dbs=self.config.max_views + 1,
                max_readers=self.config.max_readers,
            )
        except lmdb.Error as error:  # among others: it is open twice in this process
            raise _refusal(self.folder, error) from error

    def _check_layout(self, view: FeatureView, table: _Table) -> None:
        with table.environment.begin(table.facts) as transaction:
            held = transaction.get(_fact(view, LAYOUT))
        if held is None:
            with table.environment.begin(table.facts, write=True) as transaction:
                transaction.put(_fact(view, LAYOUT), view.hash.encode(), overwrite=False)
                held = transaction.get(_fact(view, LAYOUT))
        if held != view.hash.encode():
            raise StoreError(
                f"{self.folder} holds records of another {view.label} ({held!r}, this one is {view.hash}).",
                "Raise the version of the view.",
            )


def _records(view: FeatureView, transaction: lmdb.Transaction[memoryview], keys: Sequence[Key]) -> Array:
    get, none = transaction.get, absent(view).tobytes()
    try:
        found = [get(key, none) for key in keys]
    except lmdb.BadValsizeError:  # an empty or very long key, which cannot have been written
        found = [get(key, none) if 0 < len(key) <= LONGEST_KEY else none for key in keys]
    return np.frombuffer(b"".join(found), view.record)


def _packed(view: FeatureView, records: Array) -> list[bytes]:
    packed: list[bytes] = np.ascontiguousarray(records, view.record).view(f"V{view.record.itemsize}").tolist()
    return packed


def _is_newer(transaction: lmdb.Transaction[memoryview], key: Key, record: bytes) -> bool:
    held = transaction.get(key)
    return held is None or supersedes(record, held)


def _fact(view: FeatureView, name: bytes) -> bytes:
    return view.label.encode() + b" " + name


def _refusal(folder: Path, error: lmdb.Error) -> StoreError:
    if isinstance(error, lmdb.MapFullError):
        return StoreError(f"The online store in {folder} is full.", "Open it with a larger map_size_gb.")
    return StoreError(
        f"The online store in {folder} cannot be used ({error}).", "Free its disk, or restore the folder."
    )
