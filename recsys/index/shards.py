"""ShardedIndex: a generation split by hash of the item id, searched shard by shard at once and merged exactly.

A sharded generation is a directory: ``shard-<number>/`` (a generation each), ``ids.arrow`` and ``owners.npy`` (items
in the order of the whole table, and the shard of each) and ``shards.json``.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import ArtifactError
from recsys.index.base import VectorIndex, check_queries
from recsys.index.generation import IndexConfig, IndexGeneration, build_generation
from recsys.index.selection import Selection
from recsys.index.snapshot import best_of
from recsys.types import NO_ROW, FloatArray, IdMap, RowArray

SHARDS_FILE, OWNERS_FILE, IDS_FILE = "shards.json", "owners.npy", "ids.arrow"
SEARCHES_PER_SHARD = 4  # at once; a shard that hangs keeps no other waiting

Owners = npt.NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class ShardedAnswer:
    """What the shards that answered found.

    Attributes:
        rows: of the whole table, int32 ``[q, k]``, best first, padded with ``NO_ROW``.
        scores: inner products ``[q, k]``, ``-inf`` where padded.
        failed: shards whose items are missing from the answer, and why.
    """

    rows: RowArray
    scores: FloatArray
    failed: Mapping[int, str]


class ShardedIndex:
    """Speaks like one index over the whole table.

    Args:
        shards: an index over each shard's items, in the order of the whole table; in this process or another.
        owners: shard of each row of the whole table, ``[n]``.
        width: of the vectors.
    """

    def __init__(self, shards: Sequence[VectorIndex], owners: Owners, width: int) -> None:
        self._shards = shards
        self._owners = owners
        self._width = width
        self._rows = [np.flatnonzero(owners == shard).astype(np.int32) for shard in range(len(shards))]
        self._place = np.empty(len(owners), np.int32)  # of a row in its shard
        for rows in self._rows:
            self._place[rows] = np.arange(len(rows), dtype=np.int32)
        self._pools = [ThreadPoolExecutor(SEARCHES_PER_SHARD, f"shard-{number}") for number in range(len(shards))]

    def __len__(self) -> int:
        return len(self._owners)

    def search(self, queries: FloatArray, k: int, selection: Selection | None = None) -> tuple[RowArray, FloatArray]:
        """See :meth:`recsys.index.base.VectorIndex.search`; for callers who want the whole answer or none.

        Raises:
            ArtifactError: a shard did not answer, or as described there.
        """
        answer = self.search_available(queries, k, selection)
        if answer.failed:
            which = "; ".join(f"shard {number}: {reason}" for number, reason in answer.failed.items())
            raise ArtifactError(f"{len(answer.failed)} of {len(self._shards)} shards did not answer ({which}).")
        return answer.rows, answer.scores

    def search_available(
        self, queries: FloatArray, k: int, selection: Selection | None = None, seconds: float | None = None
    ) -> ShardedAnswer:
        """The k most similar rows among the shards that answer in time.

        Args:
            queries: float32 ``[q, d]``.
            k: number of neighbours.
            selection: rows of the whole table that may be returned; default: all.
            seconds: to wait for all of them together; default: as long as it takes.

        Raises:
            ArtifactError: queries of another width, or not finite.
        """
        check_queries(queries, self._width)
        deadline = None if seconds is None else time.monotonic() + seconds
        asked = [
            pool.submit(shard.search, queries, k, selection and self._part(selection, number))
            for number, (pool, shard) in enumerate(zip(self._pools, self._shards, strict=True))
        ]
        parts = [(np.full((len(queries), k), NO_ROW, np.int32), np.full((len(queries), k), -np.inf, np.float32))]
        failed = {}
        for number, future in enumerate(asked):
            try:
                rows, scores = future.result(None if deadline is None else max(0.0, deadline - time.monotonic()))
            except Exception as error:  # whatever it is, the other shards' answers are good
                late = isinstance(error, TimeoutError) and not future.done()
                future.cancel()
                failed[number] = f"no answer within {seconds} s" if late else f"{type(error).__name__}: {error}"
            else:
                own = self._rows[number]
                parts.append((np.where(rows == NO_ROW, NO_ROW, own[rows] if len(own) else rows), scores))
        return ShardedAnswer(*best_of(parts, k), failed)

    def close(self) -> None:
        """Let go of the threads; one that still waits for a shard ends by itself."""
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)

    def _part(self, selection: Selection, shard: int) -> Selection:
        """The same for the rows of one shard."""
        allowed = None if selection.allowed is None else selection.allowed[self._rows[shard]]
        if selection.excluded is None:
            return Selection(allowed)
        return Selection(allowed, [self._place[rows[self._owners[rows] == shard]] for rows in selection.excluded])


@dataclass(frozen=True, eq=False)
class ShardedGeneration:
    """An opened sharded generation.

    Attributes:
        ids: the items, in the order of the rows of every search.
        fingerprint: of the tower that made the vectors.
        index: searches all shards.
    """

    ids: IdMap
    fingerprint: str
    index: ShardedIndex

    @classmethod
    def open(cls, path: Path, opener: Callable[[Path], VectorIndex] | None = None) -> ShardedGeneration:
        """Open what :func:`build_shards` wrote; a shard that cannot be opened is one that does not answer.

        Args:
            path: the directory.
            opener: opens one shard's directory, where it is not to be searched in this process.
        """
        made = json.loads((path / SHARDS_FILE).read_text())
        owners = np.load(path / OWNERS_FILE)
        shards = [_opened(shard_path(path, number), opener or _in_process) for number in range(made["shards"])]
        ids = IdMap.open(path / IDS_FILE)
        return cls(ids, made["fingerprint"], ShardedIndex(shards, owners, made["width"]))


def owners_of(ids: Iterable[str], shards: int) -> Owners:
    """Shard of each item, the same wherever and whenever it is asked: CRC32 of the id modulo the number of shards."""
    return np.fromiter((zlib.crc32(item.encode()) % shards for item in ids), np.int16)


def shard_path(path: Path, number: int) -> Path:
    return path / f"shard-{number:03d}"


def build_shards(table: EmbeddingTable, config: IndexConfig, shards: int, path: Path) -> dict[str, float]:
    """Split a table by hash, build a generation for each part, and write all into a directory.

    Returns:
        ``rows`` of the table, ``indexed`` vectors, ``shards``, and ``recall@10`` and ``recall@50`` of the worst shard.
    """
    owners = owners_of(table.ids, shards)
    made = []
    for number in range(shards):
        rows = np.flatnonzero(owners == number)
        part = EmbeddingTable(table.ids.of_rows(rows), table.vectors[rows], table.fingerprint)
        filled = bool(part.vectors.any())
        made.append(build_generation(part, config if filled else IndexConfig(kind="exact"), shard_path(path, number)))
    np.save(path / OWNERS_FILE, owners)
    table.ids.save(path / IDS_FILE)
    about = {"shards": shards, "width": table.width, "fingerprint": table.fingerprint}
    (path / SHARDS_FILE).write_text(json.dumps(about, indent=2))
    totals: dict[str, float] = {name: sum(of[name] for of in made) for name in ("rows", "indexed")}
    return totals | {"shards": shards} | {name: min(of[name] for of in made) for name in ("recall@10", "recall@50")}


@dataclass(frozen=True)
class _Down:
    """A shard that could not be opened."""

    reason: str

    def __len__(self) -> int:
        return 0

    def search(self, queries: FloatArray, k: int, selection: Selection | None = None) -> tuple[RowArray, FloatArray]:
        raise ArtifactError(self.reason)


def _in_process(path: Path) -> VectorIndex:
    return IndexGeneration.open(path).index


def _opened(path: Path, opener: Callable[[Path], VectorIndex]) -> VectorIndex:
    try:
        return opener(path)
    except Exception as error:  # the other shards answer without it
        return _Down(f"it could not be opened: {type(error).__name__}: {error}")
