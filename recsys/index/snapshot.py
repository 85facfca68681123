"""Snapshot: a base generation and what has changed since, as they were at one moment; searched as one index.

Rows: those of the base, then one for each version written since. A row never changes its meaning as long as the base
stays, so a snapshot taken later has the same rows and more. (Columns of attributes can be kept alongside.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import ArtifactError, FingerprintMismatchError
from recsys.index.exact import ExactIndex
from recsys.index.fresh import FreshSegment, grown
from recsys.index.generation import IndexGeneration
from recsys.index.log import Change
from recsys.index.selection import Mask, Selection
from recsys.types import NO_ROW, FloatArray, IdMap, RowArray


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What a search sees, from its first step to its last: a :class:`~recsys.index.base.VectorIndex`.

    Attributes:
        base: the generation.
        sequence: of the last commit it contains.
        base_alive: ``[n]``, rows of the base neither removed nor replaced; ``None``: all.
        fresh_alive: ``[m]``, the same of the rows written since.
    """

    base: IndexGeneration
    sequence: int
    base_alive: Mask | None
    fresh_alive: Mask
    _segment: FreshSegment
    _fresh_ids: npt.NDArray[np.object_]
    _fresh_vectors: FloatArray
    _fresh: ExactIndex

    def __len__(self) -> int:
        return len(self.base.ids) + len(self.fresh_alive)

    @property
    def fingerprint(self) -> str:
        return self.base.fingerprint

    @property
    def items(self) -> int:
        """Number of items: rows that are neither removed nor replaced."""
        removed = 0 if self.base_alive is None else int((~self.base_alive).sum())
        return len(self.base.ids) - removed + int(self.fresh_alive.sum())

    def search(self, queries: FloatArray, k: int, selection: Selection | None = None) -> tuple[RowArray, FloatArray]:
        """The k most similar items of each query, each in its newest version.

        The two parts are merged by inner product, so the result is exact where the base's is.

        Args:
            queries: float32 ``[q, d]``.
            k: number of neighbours.
            selection: rows of this snapshot that may be returned; default: all.

        Returns:
            As :meth:`recsys.index.base.VectorIndex.search`.

        Raises:
            ArtifactError: queries of another width or not finite, or a selection of another number of rows.
        """
        of_base, of_fresh = self._split(selection or Selection())
        rows, scores = self.base.index.search(queries, k, of_base)
        if not len(self.fresh_alive):
            return rows, scores
        fresh_rows, fresh_scores = self._fresh.search(queries, k, of_fresh)
        fresh_rows = np.where(fresh_rows == NO_ROW, NO_ROW, fresh_rows + np.int32(len(self.base.ids)))
        return best_of([(rows, scores), (fresh_rows, fresh_scores)], k)

    def search_as(
        self, queries: FloatArray, k: int, fingerprint: str, selection: Selection | None = None
    ) -> tuple[RowArray, FloatArray]:
        """:meth:`search` for queries that say which tower made them.

        Raises:
            FingerprintMismatchError: another tower than the base's.
        """
        if fingerprint != self.fingerprint:
            raise FingerprintMismatchError(self.fingerprint, fingerprint)
        return self.search(queries, k, selection)

    def row(self, item: str) -> int:
        """Row of an item, ``NO_ROW`` where there is none, or it is removed."""
        fresh = self._segment.latest(item, len(self.fresh_alive))
        if fresh != NO_ROW and self.fresh_alive[fresh]:
            return len(self.base.ids) + fresh
        row = self.base.ids.row(item)
        return row if row != NO_ROW and (self.base_alive is None or self.base_alive[row]) else NO_ROW

    def rows(self, items: Iterable[str]) -> RowArray:
        """Rows of many items."""
        return np.fromiter((self.row(item) for item in items), np.int32)

    def externals(self, rows: Sequence[int] | npt.NDArray[Any]) -> list[str]:
        """Ids of rows; padding is left out."""
        array, base = np.asarray(rows), len(self.base.ids)
        array = array[array != NO_ROW]
        ids = np.empty(len(array), object)
        fresh = array >= base
        ids[~fresh], ids[fresh] = self.base.ids.externals(array[~fresh]), self._fresh_ids[array[fresh] - base]
        return list(ids)

    def table(self) -> EmbeddingTable:
        """The items with their newest vectors, in the order of the rows: what a new base is built over."""
        base, fresh = self.base.table, self.fresh_alive
        alive = np.ones(len(base.ids), np.bool_) if self.base_alive is None else self.base_alive
        ids = IdMap.of([*base.ids.externals(np.flatnonzero(alive)), *self._fresh_ids[fresh]])
        return EmbeddingTable(ids, np.concatenate([base.vectors[alive], self._fresh_vectors[fresh]]), base.fingerprint)

    def _split(self, selection: Selection) -> tuple[Selection | None, Selection]:
        """The selection of the base's rows, without those no longer alive, and of the fresh ones."""
        base = len(self.base.ids)
        allowed, of_base, of_fresh = selection.allowed, self.base_alive, None
        if allowed is not None:
            if len(allowed) != len(self):
                raise ArtifactError(
                    f"The selection has {len(allowed)} rows, the snapshot {len(self)}.",
                    "Make it for the snapshot that is searched.",
                )
            of_base = allowed[:base] if self.base_alive is None else allowed[:base] & self.base_alive
            of_fresh = allowed[base:]
        excluded = selection.excluded
        if excluded is None:
            return (None if of_base is None else Selection(of_base)), Selection(of_fresh)
        return (
            Selection(of_base, [rows[rows < base] for rows in excluded]),
            Selection(of_fresh, [rows[rows >= base] - np.int32(base) for rows in excluded]),
        )


class Overlay:
    """Gathers changes over a base generation. One writer; snapshots are for everyone.

    Args:
        base: the generation.
        sequence: of the last commit the base contains.
    """

    def __init__(self, base: IndexGeneration, sequence: int) -> None:
        self.base = base
        self.sequence = sequence
        self._segment = FreshSegment(base.table.width)
        self._base_alive: Mask | None = None
        self._base_gone = 0
        self._fresh_alive: Mask = np.ones(0, np.bool_)
        self._filled: Mask = np.ones(0, np.bool_)

    @property
    def size(self) -> int:
        """What a search pays for beside the base: rows written since, and rows of the base to leave out."""
        return len(self._segment) + self._base_gone

    def apply(self, changes: Sequence[Change], sequence: int) -> None:
        """Take in the changes of commits up to a sequence number, oldest first.

        Masks that snapshots hold are left as they are.
        """
        replaced, filled = [], [self._filled]
        for change in changes:
            if change.vectors is None:
                end = len(self._segment)
                replaced.append(np.array([self._segment.latest(item, end) for item in change.ids], np.int32))
            else:
                replaced.append(self._segment.append(change.ids, change.vectors))
                filled.append(np.asarray(change.vectors.any(axis=1)))
        self._filled = np.concatenate(filled)
        self._fresh_alive = grown(self._fresh_alive, len(self._segment))
        for rows in replaced:
            self._fresh_alive[rows[rows != NO_ROW]] = False
        of_base = self.base.ids.rows(item for change in changes for item in change.ids)
        if (of_base != NO_ROW).any():
            alive = np.ones(len(self.base.ids), np.bool_) if self._base_alive is None else self._base_alive.copy()
            alive[of_base[of_base != NO_ROW]] = False
            self._base_alive, self._base_gone = alive, int((~alive).sum())
        self.sequence = sequence

    def snapshot(self) -> Snapshot:
        """The present state, which later changes do not touch."""
        ids, vectors = self._segment.view()
        fresh = ExactIndex.over(vectors, self._fresh_alive & self._filled)
        return Snapshot(
            self.base, self.sequence, self._base_alive, self._fresh_alive, self._segment, ids, vectors, fresh
        )


def best_of(parts: Sequence[tuple[RowArray, FloatArray]], k: int) -> tuple[RowArray, FloatArray]:
    """The k best of several searches for the same queries, whose rows do not overlap.

    Args:
        parts: rows and scores ``[q, k]`` of each, best first, padded with ``NO_ROW`` and ``-inf``.
        k: how many to keep.

    Returns:
        As :meth:`recsys.index.base.VectorIndex.search`: equal inner products go to the lower row.
    """
    rows = np.concatenate([part[0] for part in parts], axis=1)
    scores = np.concatenate([part[1] for part in parts], axis=1)
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
