"""The words of the house: ids, histories and candidates.

External ids are strings. Inside, arrays of *rows* (positions in one catalogue) are used; an :class:`IdMap` is the only
bridge between the two, and whatever carries rows carries the ``IdMap`` they belong to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NewType

import numpy as np
import numpy.typing as npt

from recsys.exceptions import DataError

ItemId = NewType("ItemId", str)
UserId = NewType("UserId", str)

FloatArray = npt.NDArray[np.float32]
RowArray = npt.NDArray[np.int32]
Image = bytes  # an encoded picture (JPEG, PNG, WebP)

NO_ROW = -1
"""Padding in arrays of rows: no item here."""

PARTS = 256  # of an IdMap


@dataclass(frozen=True, eq=False)
class IdMap:
    """Frozen bridge between external ids (strings) and rows ``0..n-1``.

    Raises:
        DataError: an id occurs twice.
    """

    ids: npt.NDArray[Any]

    def __post_init__(self) -> None:
        if sum(map(len, self._row_of)) != len(self.ids):
            values, counts = np.unique(self.ids.astype(str), return_counts=True)
            worst = counts.argmax()
            raise DataError(f"Id {str(values[worst])!r} occurs {counts[worst]} times.", "Ids must be unique.")

    @classmethod
    def of(cls, ids: Iterable[str]) -> IdMap:
        return cls(np.fromiter(ids, dtype=object))

    @cached_property
    def _row_of(self) -> list[dict[str, int]]:
        """Rows by id, in many small dicts: a large one stops all threads while it moves to a larger table."""
        parts: list[dict[str, int]] = [{} for _ in range(PARTS)]
        for row, external in enumerate(self.ids):
            parts[hash(external) % PARTS][external] = row
        return parts

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, external: str) -> int:
        """Row of one id, ``NO_ROW`` where it is unknown."""
        return self._row_of[hash(external) % PARTS].get(external, NO_ROW)

    def rows(self, externals: Iterable[str]) -> RowArray:
        """Rows of many ids, ``NO_ROW`` where an id is unknown."""
        parts = self._row_of
        found = (parts[hash(external) % PARTS].get(external, NO_ROW) for external in externals)
        return np.fromiter(found, dtype=np.int32)

    def externals(self, rows: Sequence[int] | npt.NDArray[Any]) -> list[str]:
        """External ids of ``rows``; padding is left out."""
        array = np.asarray(rows)
        return list(self.ids[array[array != NO_ROW]])


@dataclass(frozen=True, eq=False)
class Histories:
    """What each of n users engaged with before the moment of the request, oldest first (compressed rows).

    Attributes:
        offsets: int64 ``[n + 1]``; user i owns the slice ``offsets[i]:offsets[i + 1]`` of the other arrays.
        items: item rows, int32 ``[total]``.
        weights: strength of each engagement (a like weighs more than a click), float32 ``[total]``.
        users: who they are, user rows int32 ``[n]``, ``NO_ROW`` for a stranger; ``None`` where nobody says.
    """

    offsets: npt.NDArray[np.int64]
    items: RowArray
    weights: FloatArray
    users: RowArray | None = None

    @classmethod
    def of(cls, histories: Iterable[Sequence[int]]) -> Histories:
        """From one sequence of item rows per user, every engagement weighing 1."""
        lists = [np.asarray(history, dtype=np.int32) for history in histories]
        offsets = np.concatenate([[0], np.cumsum([len(items) for items in lists])]).astype(np.int64)
        items = np.concatenate(lists) if lists else np.empty(0, np.int32)
        return cls(offsets, items, np.ones(len(items), np.float32))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, user: int) -> RowArray:
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return np.diff(self.offsets)

    def slice(self, start: int, stop: int) -> Histories:
        """The users ``start:stop``."""
        begin, end = self.offsets[start], self.offsets[min(stop, len(self))]
        offsets = self.offsets[start : stop + 1] - begin
        users = None if self.users is None else self.users[start:stop]
        return Histories(offsets, self.items[begin:end], self.weights[begin:end], users)

    def take(self, users: npt.NDArray[np.int64]) -> Histories:
        """The given users, in that order."""
        lengths = self.lengths[users]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        cells = np.repeat(self.offsets[users] - offsets[:-1], lengths) + np.arange(offsets[-1])
        known = None if self.users is None else self.users[users]
        return Histories(offsets, self.items[cells], self.weights[cells], known)

    def recent(self, count: int) -> tuple[RowArray, FloatArray]:
        """The last ``count`` engagements, newest first: rows and weights ``[n, count]``, padded (``NO_ROW``, 0)."""
        position = self.offsets[1:, None] - 1 - np.arange(count)[None, :]
        inside = position >= self.offsets[:-1, None]
        safe = np.where(inside, position, 0)
        if len(self.items) == 0:
            return np.full(position.shape, NO_ROW, np.int32), np.zeros(position.shape, np.float32)
        rows = np.where(inside, self.items[safe], NO_ROW).astype(np.int32)
        return rows, np.where(inside, self.weights[safe], 0).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Retrieved items of n requests, best first.

    Attributes:
        rows: item rows, int32 ``[n, k]``, padded at the end with ``NO_ROW``.
        scores: float32 ``[n, k]``, ``-inf`` where padded; comparable within one source only.
        source: name of the source that found them.
    """

    rows: RowArray
    scores: FloatArray
    source: str

    def __len__(self) -> int:
        return len(self.rows)

    def top(self, k: int) -> Candidates:
        return Candidates(self.rows[:, :k], self.scores[:, :k], self.source)
