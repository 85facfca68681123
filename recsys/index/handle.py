"""IndexHandle: the generation a server answers from, exchanged under load without a failed or mixed answer."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recsys.artifacts import Artifact, ArtifactStore
from recsys.exceptions import ArtifactError, FingerprintMismatchError
from recsys.index.generation import IndexGeneration
from recsys.index.selection import Selection
from recsys.types import FloatArray, IdMap, RowArray

WARMING = 256  # searches that bring a new generation's pages into memory before the first user asks
LINGERING_SECONDS = 0.05  # that running searches have to end in
ATTEMPTS = 5  # to open what is in use before it is replaced and collected


@dataclass(frozen=True, eq=False)
class Found:
    """The answer of one generation.

    Attributes:
        key: of the generation.
        ids: what the rows mean.
        rows: int32 ``[q, k]``, best first, padded with ``NO_ROW``.
        scores: inner products ``[q, k]``, ``-inf`` where padded.
    """

    key: str
    ids: IdMap
    rows: RowArray
    scores: FloatArray


@dataclass(frozen=True, eq=False)
class Served:
    """A generation that is open; its directory stays on disk as long as anyone holds this."""

    key: str
    generation: IndexGeneration

    def search(self, queries: FloatArray, k: int, fingerprint: str, selection: Selection | None = None) -> Found:
        """See :meth:`IndexHandle.search`."""
        generation = self.generation
        if fingerprint != generation.fingerprint:
            raise FingerprintMismatchError(generation.fingerprint, fingerprint)
        return Found(self.key, generation.ids, *generation.index.search(queries, k, selection))


class IndexHandle:
    """Answers from the generation in use, and goes over to a later one when told to.

    Safe for many threads: a search takes the generation once and keeps it to its end, without a lock. The old one is
    closed when its last search has ended, by the thread that refreshes unless a search takes long, and may be collected
    then.

    Args:
        store: where generations are published.
        kind: of artifact.

    Raises:
        ArtifactError: there is none, or it is damaged.
    """

    def __init__(self, store: ArtifactStore, kind: str) -> None:
        self._store, self._kind = store, kind
        self._refreshing = threading.Lock()
        self._served = self._opened()

    @property
    def served(self) -> Served:
        """The generation in use here, for requests that search more than once and make selections for it."""
        return self._served

    def search(self, queries: FloatArray, k: int, fingerprint: str, selection: Selection | None = None) -> Found:
        """The k most similar items of each query, all from one generation.

        Args:
            queries: float32 ``[q, d]``, unit length.
            k: number of neighbours.
            fingerprint: of the tower that made the queries.
            selection: rows of :attr:`served` that may be returned; default: all.

        Raises:
            FingerprintMismatchError: the queries come from another tower.
        """
        return self._served.search(queries, k, fingerprint, selection)

    def refresh(self, check: Callable[[IndexGeneration], None] | None = None) -> bool:
        """Go over to the generation in use in the store: verified, opened and warmed first, then exchanged at once.

        Args:
            check: refuses, by an error, a generation that does not fit whoever answers from it.

        Returns:
            Whether it was another one.

        Raises:
            ArtifactError: it is damaged, or refused by ``check``; the handle goes on with the one it has.
        """
        with self._refreshing:
            if self._store.used_keys(self._kind)[:1] == [self._served.key]:
                return False
            opened = self._opened()
            if check is not None:
                check(opened.generation)
            old, self._served = self._served, opened
            time.sleep(LINGERING_SECONDS)  # unmapping takes milliseconds, which no search shall wait for
            del old
            return True

    def _opened(self) -> Served:
        for _ in range(ATTEMPTS - 1):
            artifact = self._store.current(self._kind)
            try:
                held = artifact.hold()
            except ArtifactError:  # replaced and collected since we looked
                continue
            return _open(artifact, held)
        artifact = self._store.current(self._kind)
        return _open(artifact, artifact.hold())


class ServedIndex:
    """A :class:`recsys.index.base.VectorIndex` over whatever generation a handle is at; each search is of one of them.

    For generations whose rows mean the same items, as ``check`` of :meth:`IndexHandle.refresh` can see to.

    Args:
        handle: whose generations are searched.
    """

    def __init__(self, handle: IndexHandle) -> None:
        self._handle = handle

    def __len__(self) -> int:
        return len(self._handle.served.generation.index)

    def search(self, queries: FloatArray, k: int, selection: Selection | None = None) -> tuple[RowArray, FloatArray]:
        """See :meth:`recsys.index.base.VectorIndex.search`."""
        return self._handle.served.generation.index.search(queries, k, selection)


def _open(artifact: Artifact, held: int) -> Served:
    try:
        artifact.verify()
        generation = IndexGeneration.open(artifact.path)
    except Exception:
        os.close(held)
        raise
    weakref.finalize(generation, os.close, held)
    vectors = generation.table.vectors
    rows = np.unique(np.linspace(0, len(vectors) - 1, min(WARMING, len(vectors))).astype(np.int64))
    generation.index.search(np.asarray(vectors[rows]), 1)
    generation.index.search(np.asarray(vectors[rows[:1]]), 1, Selection(np.ones(len(vectors), np.bool_)))
    return Served(artifact.key, generation)
