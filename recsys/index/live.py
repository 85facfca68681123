"""LiveIndex: items added, replaced and removed while others search; what is acknowledged survives ``kill -9``.

A directory of its own: ``base/`` (generations, the one in use named by ``base/CURRENT``) and ``log/`` (what changed
since, see :class:`~recsys.index.log.WriteAheadLog`). Opening it replays the log over the base. Once enough has changed,
a thread builds the next base beside the old one; then the log starts after it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from recsys.artifacts import MANIFEST, Artifact, ArtifactStore, write_atomically
from recsys.config import BaseConfig
from recsys.embeddings.table import EmbeddingTable, check_unit
from recsys.exceptions import ArtifactError, DataError, FingerprintMismatchError
from recsys.index.generation import IndexConfig, IndexGeneration, build_generation
from recsys.index.log import Change, WriteAheadLog
from recsys.index.snapshot import Overlay, Snapshot
from recsys.types import FloatArray, IdMap

logger = logging.getLogger(__name__)

KIND, VERSION = "base", 2
PIN = "PIN"
MERGE_NICENESS = 10  # of the thread that builds a base: searches go first


class LiveConfig(BaseConfig):
    """How a live index keeps itself quick.

    ``merge_at`` is the number of rows a search pays for beside the base (written since, or to be left out) that starts
    a merge; a fresh row costs a search one comparison.
    """

    index: IndexConfig = IndexConfig()
    merge_at: int = Field(default=50_000, ge=1)
    keep: int = Field(default=0, ge=0)  # bases kept beside the one in use


class BaseSource(BaseConfig):
    """What a base is made from: the generation it started with, and the last commit it contains."""

    origin: str
    sequence: int
    index: IndexConfig


class Pin(BaseConfig):
    """From where on the log is kept, as long as the bases descend from the same generation."""

    origin: str
    sequence: int


@dataclass(eq=False)
class _Commit:
    """Changes that wait for the disk, and what became of them."""

    change: Change
    sequence: int = 0
    error: Exception | None = None


class LiveIndex:
    """The only writer of its directory; its methods may be called from any thread.

    Args:
        directory: made by :meth:`create`.
        config: settings; those of the index hold from the next merge on.

    Raises:
        ArtifactError: there is no live index, another process has it open, or its log is damaged.
    """

    def __init__(self, directory: Path, config: LiveConfig) -> None:
        self.config = config
        self._store = ArtifactStore(directory)
        artifact = self._store.current(KIND)
        self._lock = _sole_writer(directory)
        self._queue: list[_Commit] = []
        self._queueing, self._writing, self._merging = threading.Lock(), threading.Lock(), threading.Lock()
        self._merger: threading.Thread | None = None
        self._merge_at, self._closing = config.merge_at, False
        try:
            self._overlay = _overlay_of(artifact)
            self._log = WriteAheadLog(directory / "log", self._overlay.base.table.width, self._overlay.sequence)
            self._catch_up(self._overlay)
        except Exception:
            os.close(self._lock)
            raise
        self._snapshot = self._overlay.snapshot()
        self._tidy()

    @classmethod
    def create(cls, directory: Path, generation: Path, config: LiveConfig) -> LiveIndex:
        """Start a live index over a generation, whose files it links or copies.

        Raises:
            ArtifactError: there is a live index already.
        """
        store = ArtifactStore(directory)
        if store.used_keys(KIND):
            raise ArtifactError(f"There is a live index in {directory} already.", "Open it.")
        _linked(store, generation, BaseSource(origin=generation.name, sequence=0, index=config.index))
        return cls(directory, config)

    @property
    def snapshot(self) -> Snapshot:
        """The present state: all that is acknowledged, and nothing that changes while it is searched."""
        return self._snapshot

    def put(self, ids: Sequence[str], vectors: FloatArray, fingerprint: str) -> int:
        """Add items, or give them new vectors; on disk and found by the next search when it returns.

        Args:
            ids: the items; where one repeats, its last vector counts.
            vectors: float32 ``[n, d]``, unit length, or zero for an item that is similar to nothing.
            fingerprint: of the tower that made the vectors.

        Returns:
            Sequence number of the commit.

        Raises:
            FingerprintMismatchError: the vectors come from another tower.
            ArtifactError: a vector is not of unit length, or the log cannot be written.
            DataError: an id is empty, or ids and vectors do not fit together.
        """
        if fingerprint != self._snapshot.fingerprint:
            raise FingerprintMismatchError(self._snapshot.fingerprint, fingerprint)
        width = self._snapshot.base.table.width
        if vectors.shape != (len(ids), width):
            raise DataError(f"Vectors of shape {vectors.shape} for {len(ids)} items.", f"Give one of {width} for each.")
        last = {item: place for place, item in enumerate(_checked(ids))}
        own = np.asarray(vectors, np.float32)[list(last.values())]  # a copy: the caller may go on with theirs
        check_unit(own, IdMap.of(last))
        return self._commit(Change(list(last), own))

    def remove(self, ids: Sequence[str]) -> int:
        """Remove items; an id that is not there stays so. No search that starts after it returns finds them.

        Returns:
            Sequence number of the commit.

        Raises:
            ArtifactError: the log cannot be written.
        """
        return self._commit(Change(_checked(ids), None))

    def merge(self) -> bool:
        """Build the next base from all that is there now, while searches and writers go on.

        Returns:
            Whether there was anything to merge.
        """
        with self._merging:
            with self._writing:
                if self._overlay.size == 0:
                    return False
                frozen = self._overlay.snapshot()
                self._log.rotate()
            artifact = self._next_base(frozen)
            del frozen  # holds the old base
            self._go_over(artifact)
            return True

    def pin(self) -> int:
        """Keep the commits from now on for :meth:`rebase` or :meth:`changes_since`, even those that are merged.

        Call it before the items of a new generation are read. A later pin replaces it.

        Returns:
            Sequence number of the last commit that the new generation will contain.
        """
        with self._merging:  # which would forget
            sequence = self._snapshot.sequence
            with self._writing:
                self._log.rotate()
            pin = Pin(origin=self._store.current(KIND).manifest.config["origin"], sequence=sequence)
            write_atomically(self._store.home / PIN, pin.model_dump_json())
            return sequence

    def changes_since(self, sequence: int) -> Iterator[Change]:
        """Changes of the commits after a pinned one, oldest first; to bring an index of another tower up to date.

        Raises:
            ArtifactError: commits are no longer there, since nothing had pinned them.
        """
        return (change for _, changes in self._log.replay(sequence, self._snapshot.sequence) for change in changes)

    def rebase(self, generation: Path, contains: int) -> None:
        """Go over to a generation of the same tower that was built elsewhere, and keep what has changed meanwhile.

        Args:
            generation: its directory, whose files are linked or copied.
            contains: what :meth:`pin` returned before its items were read.

        Raises:
            FingerprintMismatchError: it is of another tower: make a live index of its own, see :meth:`changes_since`.
            ArtifactError: commits after ``contains`` are no longer there.
        """
        fingerprint = EmbeddingTable.open(generation / "table").fingerprint
        if fingerprint != self._snapshot.fingerprint:
            raise FingerprintMismatchError(self._snapshot.fingerprint, fingerprint)
        with self._merging:
            for _ in self._log.replay(contains):
                break  # raises where there is a gap, before anything is put to use
            source = BaseSource(origin=generation.name, sequence=contains, index=self.config.index)
            self._go_over(_linked(self._store, generation, source))

    def close(self) -> None:
        """Wait for a running merge and let go of the directory; snapshots may still be searched."""
        with self._writing:
            if self._closing:
                return
            self._closing = True
        if self._merger is not None:
            self._merger.join()
        self._log.close()
        os.close(self._lock)

    def _commit(self, change: Change) -> int:
        """Write a change, together with those of other threads that wait for the disk at the same time."""
        mine = _Commit(change)
        with self._queueing:
            self._queue.append(mine)
        with self._writing:
            if mine.sequence == 0 and mine.error is None:
                with self._queueing:
                    group, self._queue = self._queue, []
                self._write(group)
        if mine.error is not None:
            raise mine.error
        return mine.sequence

    def _write(self, group: Sequence[_Commit]) -> None:
        changes = [commit.change for commit in group]
        try:
            sequence = self._log.append(changes)
            self._overlay.apply(changes, sequence)
            self._snapshot = self._overlay.snapshot()
        except Exception as error:
            for commit in group:
                commit.error = error
            return
        for commit in group:
            commit.sequence = sequence
        running = self._merger is not None and self._merger.is_alive()
        if self._overlay.size >= self._merge_at and not running and not self._closing:
            self._merger = threading.Thread(target=self._merge_quietly, name="index-merge")
            self._merger.start()

    def _merge_quietly(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), MERGE_NICENESS)  # of this thread only, on Linux
        try:
            self.merge()
            self._merge_at = self.config.merge_at
        except Exception:  # the index goes on with its log; the next attempt comes after as many changes again
            logger.exception("%s: merge failed", self._store.home)
            self._merge_at = self._overlay.size + self.config.merge_at

    def _next_base(self, frozen: Snapshot) -> Artifact:
        """Build a base over what a snapshot holds, and put it to use for whoever opens the index from now on."""
        before = self._store.current(KIND)
        origin = before.manifest.config["origin"]
        source = BaseSource(origin=origin, sequence=frozen.sequence, index=self.config.index)
        table = frozen.table()
        index = self.config.index if table.vectors.any() else IndexConfig(kind="exact")

        def build(work: Path) -> dict[str, Any]:
            return dict(build_generation(table, index, work))

        return self._store.build(KIND, VERSION, source, {"base": before}, build)[0]

    def _go_over(self, artifact: Artifact) -> None:
        """Search a base that is in use on disk already, with what the log holds beyond it."""
        overlay = _overlay_of(artifact)
        self._catch_up(overlay)  # most of it while writers go on
        with self._writing:
            self._catch_up(overlay)
            self._overlay, self._snapshot = overlay, overlay.snapshot()
        source = BaseSource.model_validate(artifact.manifest.config)
        file = self._store.home / PIN
        pin = Pin.model_validate_json(file.read_text()) if file.exists() else None
        if pin is not None and pin.origin != source.origin:  # a rebase, which it was for, changes the origin
            pin = None
        self._log.forget(min(source.sequence, pin.sequence) if pin else source.sequence)
        self._tidy()

    def _catch_up(self, overlay: Overlay) -> None:
        """Take in what the log holds beyond an overlay."""
        last = self._log.last
        changes = [change for _, commit in self._log.replay(overlay.sequence, last) for change in commit]
        if changes:
            overlay.apply(changes, last)

    def _tidy(self) -> None:
        self._store.collect(KIND, self.config.keep)


def _overlay_of(artifact: Artifact) -> Overlay:
    """Nothing but a base, which stays on disk as long as someone searches it."""
    held = artifact.hold()
    base = IndexGeneration.open(artifact.path)
    weakref.finalize(base, os.close, held)
    return Overlay(base, artifact.manifest.config["sequence"])


def _sole_writer(directory: Path) -> int:
    descriptor = os.open(directory / ".writer", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ArtifactError(
            f"Another process writes to {directory}, or this one has it open twice.", "Close it there first."
        ) from None
    return descriptor


def _checked(ids: Sequence[str]) -> list[str]:
    if not all(ids):
        raise DataError(f"Id number {list(map(bool, ids)).index(False)} is empty.", "Give every item an id.")
    return list(ids)


def _linked(store: ArtifactStore, generation: Path, source: BaseSource) -> Artifact:
    """A base that has the files of a generation: hard links, or copies on another file system."""

    def link(work: Path) -> dict[str, Any]:
        for file in sorted(generation.rglob("*")):
            if file.is_file() and file.name != MANIFEST:
                target = work / file.relative_to(generation)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                try:
                    target.hardlink_to(file)
                except OSError:
                    shutil.copyfile(file, target)
        return {}

    return store.build(KIND, VERSION, source, {}, link)[0]
