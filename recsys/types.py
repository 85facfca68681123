"""The words of the house: ids, histories and candidates.

External ids are strings. Inside, arrays of *rows* (positions in one catalogue) are used; an :class:`IdMap` is the only
bridge between the two, and whatever carries rows carries the ``IdMap`` they belong to.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NewType

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys import schemas
from recsys.exceptions import DataError

ItemId = NewType("ItemId", str)
UserId = NewType("UserId", str)

FloatArray = npt.NDArray[np.float32]
RowArray = npt.NDArray[np.int32]
Image = bytes  # an encoded picture (JPEG, PNG, WebP)

NO_ROW = -1
"""Padding in arrays of rows: no item here."""

AT_ONCE = 4096  # ids that are Python objects at the same time


@dataclass(frozen=True, eq=False)
class IdMap:
    """Frozen bridge between external ids (strings) and rows ``0..n-1``.

    Holds no Python object per id, so that millions can be mapped from a file at once and let go of at once. A row is
    found by binary search among CRC32 hashes; ids that share a hash are told apart by their text.

    Attributes:
        strings: the ids in the order of their rows.
        hashes: of the ids, ascending, uint32 ``[n]``.
        hashed_rows: the row of each hash, ``[n]``.
    """

    strings: pa.LargeStringArray
    hashes: npt.NDArray[np.uint32]
    hashed_rows: RowArray

    @classmethod
    def of(cls, ids: Iterable[str]) -> IdMap:
        """The ids in the order of their rows; an Arrow or polars column is taken as it is.

        Raises:
            DataError: an id occurs twice.
        """
        strings = _strings(ids)
        hashes = _hashes(strings)
        rows = np.argsort(hashes, kind="stable").astype(np.int32)
        made = cls(strings, hashes[rows], rows)
        same = made.hashes[1:] == made.hashes[:-1]
        if same.any():
            shared = np.append(same, False) | np.insert(same, 0, False)
            worst, count = Counter(made.externals(rows[shared])).most_common(1)[0]
            if count > 1:
                raise DataError(f"Id {worst!r} occurs {count} times.", "Ids must be unique.")
        return made

    def save(self, file: Path) -> None:
        """Write an Arrow file that :meth:`open` maps."""
        columns = {schemas.ITEM_ID: self.strings, "hash": pa.array(self.hashes), "row": pa.array(self.hashed_rows)}
        batch = pa.record_batch(columns)
        with pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)

    @classmethod
    def open(cls, file: Path) -> IdMap:
        """Memory-map what :meth:`save` wrote; nothing is read yet.

        Raises:
            FileNotFoundError: there is none.
        """
        batch = pa.ipc.open_file(pa.memory_map(str(file))).get_batch(0)
        return cls(batch.column(0), batch.column(1).to_numpy(), batch.column(2).to_numpy())

    def __len__(self) -> int:
        return len(self.strings)

    def __getitem__(self, row: int) -> str:
        """External id of one row."""
        return str(self.strings[int(row)].as_py())

    def __iter__(self) -> Iterator[str]:
        """External ids in the order of their rows."""
        return _texts(self.strings)

    def row(self, external: str) -> int:
        """Row of one id, ``NO_ROW`` where it is unknown."""
        hashed = np.uint32(zlib.crc32(external.encode()))
        place = int(self.hashes.searchsorted(hashed))
        while place < len(self) and self.hashes[place] == hashed:
            row = int(self.hashed_rows[place])
            if self[row] == external:
                return row
            place += 1
        return NO_ROW

    def rows(self, externals: Iterable[str]) -> RowArray:
        """Rows of many ids, ``NO_ROW`` where an id is unknown; quickest for an Arrow or polars column."""
        asked = _strings(externals).dictionary_encode()
        distinct = asked.dictionary
        hashes = _hashes(distinct)
        places = self.hashes.searchsorted(hashes)
        found = np.full(len(distinct), NO_ROW, np.int32)
        left = np.arange(len(distinct))
        while len(left):
            left = left[places[left] < len(self)]
            left = left[self.hashes[places[left]] == hashes[left]]
            hopeful = self.hashed_rows[places[left]]
            same = pc.equal(self.strings.take(pa.array(hopeful)), distinct.take(pa.array(left))).to_numpy(False)
            found[left[same]] = hopeful[same]
            left = left[~same]
            places[left] += 1
        rows: RowArray = found[asked.indices.to_numpy()]
        return rows

    def externals(self, rows: Sequence[int] | npt.NDArray[Any]) -> list[str]:
        """External ids of ``rows``; padding is left out."""
        array = np.asarray(rows, np.int64)
        found: list[str] = self.strings.take(pa.array(array[array != NO_ROW])).to_pylist()
        return found

    def of_rows(self, rows: npt.NDArray[Any] | slice) -> IdMap:
        """A map of some of the ids, given by their rows, by a mask or by a slice."""
        return IdMap.of(self.strings.take(pa.array(np.arange(len(self))[rows])))


def _strings(ids: Iterable[str]) -> pa.LargeStringArray:
    column = isinstance(ids, pa.Array) or hasattr(ids, "__arrow_c_stream__")
    return pa.array(ids if column else list(ids), pa.large_string())


def _texts(strings: pa.LargeStringArray) -> Iterator[str]:
    for start in range(0, len(strings), AT_ONCE):
        yield from strings[start : start + AT_ONCE].to_pylist()


def _hashes(strings: pa.LargeStringArray) -> npt.NDArray[np.uint32]:
    return np.fromiter((zlib.crc32(text.encode()) for text in _texts(strings)), np.uint32, len(strings))


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
