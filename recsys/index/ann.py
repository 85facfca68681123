"""FaissIndex: approximate search by FAISS, under any selection of rows, saved to and memory-mapped from one file."""

from __future__ import annotations

import copy
import math
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
from pydantic import Field

from recsys.config import BaseConfig
from recsys.embeddings.table import EmbeddingTable, check_unit
from recsys.exceptions import ArtifactError, ConfigError
from recsys.index.answers import Answers, Trace, Way
from recsys.index.base import check_queries
from recsys.index.exact import nearest_among
from recsys.index.kinds import (
    RECIPES,
    Effort,
    Kind,
    centroids,
    inverted_file,
    new_index,
    own_effort,
    parameters,
    set_effort,
)
from recsys.index.routes import Terrain
from recsys.index.selection import Mask, Selection
from recsys.index.unread import Unread
from recsys.types import NO_ROW, FloatArray, RowArray

SAMPLE_PER_LIST = 64  # training vectors per centroid: enough for k-means, and four times quicker than FAISS's 256
LEAST_PER_LIST = 39  # below that FAISS calls a centroid badly trained
LEAST_SAMPLE = 10_000  # what trains codes, which learn the range of each dimension
FEWEST = 256  # that codes can be trained from; fewer vectors are repeated
ADDED_AT_ONCE = 65536
DROPPED = 200  # rows that a query excludes: so many are fetched and dropped, more are passed over by a bitmap
CENTROID_SAMPLE = 500  # vectors that tell how near lists lie around their centroids
FILTERED_REFINE = 4  # times as many first answers are ordered again under a filter, where scores lie closer together
RECALL_TARGET = 0.95
WIDENING = 4  # a search that found too little looks so many times as hard
Positions = npt.NDArray[np.int64]


class FaissConfig(BaseConfig):
    """Which FAISS index.

    ``flat`` compares with everything. ``ivf_*`` cluster the vectors into ``nlist`` lists and read the ``nprobe``
    nearest; the rest of the name says what a list holds: ``flat`` floats, half floats, bytes, or 4-bit product codes
    whose first answers are ordered again by half floats. ``rabitq`` is an inverted file of one bit a dimension after a
    random rotation (2405.12497), ordered again by bytes. ``hnsw`` is a graph (1603.09320) over half floats.

    What is left out of ``nprobe``, ``ef_search`` and ``refine`` is tuned when a generation is built.
    """

    kind: Kind = "ivf_flat"
    nlist: int | None = Field(default=None, ge=1)  # default: 4 sqrt(n), fewer where lists would be too short to train
    nprobe: int | None = Field(default=None, ge=1)  # of kinds with lists
    ef_search: int | None = Field(default=None, ge=1)  # of hnsw
    refine: float | None = Field(default=None, ge=1)  # times k first answers, of kinds that order them again
    seed: int = 0

    @property
    def tunable(self) -> bool:
        """Whether something is left to tune."""
        recipe = RECIPES[self.kind]
        chosen = {"nprobe": self.nprobe, "efSearch": self.ef_search, "": 0}[recipe.turns]
        return chosen is None or (recipe.refines and self.refine is None)

    def effort(self, lists: int) -> Effort:
        """What is set here; 16 lists, 64 nodes and 4 k first answers where nothing is."""
        recipe = RECIPES[self.kind]
        breadth = {"nprobe": min(self.nprobe or 16, lists), "efSearch": self.ef_search or 64, "": 0}[recipe.turns]
        return Effort(breadth, (self.refine or 4) if recipe.refines else 1)


class FaissIndex:
    """Inner-product search over the non-zero vectors of a table; zero vectors are left out of the index.

    Equal inner products go to the lower row, among those that FAISS returns. A query gets k rows wherever k may be
    returned: a search that finds fewer looks harder.

    Args:
        stored: index of FAISS; an ``IndexIDMap`` around it where some rows have no vector.
        vectors: of the whole table, for searches among few rows.
        effort: of searches.
        recall_target: that searches under a filter read for; ``effort`` is what reaches it without one.
    """

    def __init__(self, stored: Any, vectors: FloatArray, effort: Effort, recall_target: float) -> None:
        self._stored = stored
        self._vectors = vectors
        self.effort = effort
        self._recall_target = recall_target
        self._rows: RowArray | None = None  # of the positions in the index; None: they are the same
        self._index = stored
        if isinstance(stored, faiss.IndexIDMap):
            self._rows = faiss.vector_to_array(stored.id_map).astype(np.int32)
            self._index = faiss.downcast_index(stored.index)
        plain = isinstance(self._index, faiss.IndexFlat | faiss.IndexHNSW)
        lists = 0 if plain else inverted_file(self._index).nlist
        self.terrain = Terrain(self._index.ntotal, self._index.d, lists, isinstance(self._index, faiss.IndexHNSW))
        self.refines = isinstance(self._index, faiss.IndexRefine)

    @classmethod
    def build(cls, table: EmbeddingTable, config: FaissConfig, recall_target: float = RECALL_TARGET) -> FaissIndex:
        """Train and fill an index. The same table and config give the same index; a table of zeros an empty one.

        Raises:
            ArtifactError: a vector is neither of unit length nor zero.
            ConfigError: more lists than vectors.
        """
        check_unit(table.vectors, table.ids)
        rows = np.flatnonzero(table.vectors.any(axis=1)).astype(np.int32)
        lists = config.nlist or max(1, min(int(4 * math.sqrt(len(rows))), len(rows) // LEAST_PER_LIST))
        if len(rows) and lists > len(rows):
            raise ConfigError(f"nlist = {lists} exceeds the {len(rows)} vectors.", "Lower it, or use kind = 'flat'.")
        index = new_index(config.kind if len(rows) else "flat", table.width, lists, config.seed)
        if not index.is_trained:
            size = min(len(rows), max(SAMPLE_PER_LIST * lists, LEAST_SAMPLE))
            sample = np.sort(np.random.default_rng(config.seed).choice(rows, size, replace=False))
            index.train(np.ascontiguousarray(table.vectors[np.resize(sample, max(size, FEWEST))]))
        stored = index if len(rows) == len(table.ids) else faiss.IndexIDMap(index)
        for start in range(0, len(rows), ADDED_AT_ONCE):
            chunk = rows[start : start + ADDED_AT_ONCE]
            vectors = np.ascontiguousarray(table.vectors[chunk])
            if stored is index:
                index.add(vectors)
            else:
                stored.add_with_ids(vectors, chunk.astype(np.int64))
        return cls(stored, table.vectors, config.effort(lists), recall_target)

    @property
    def faiss_index(self) -> Any:
        """The index of FAISS, by positions, with the effort set in it."""
        set_effort(self._index, self.effort)
        return self._index

    @property
    def parameter(self) -> str:
        """What FAISS calls the breadth of an effort; empty where there is none."""
        return "efSearch" if self.terrain.graph else "nprobe" if self.terrain.lists else ""

    def with_effort(self, effort: Effort) -> FaissIndex:
        """The same index, searched with another effort."""
        other = copy.copy(self)
        other.effort = effort
        return other

    def save(self, file: Path) -> None:
        """Write the index with its effort; where rows have no vector, as FAISS's ``IndexIDMap``."""
        set_effort(self._index, self.effort)
        faiss.write_index(self._stored, str(file))

    @classmethod
    def open(cls, file: Path, table: EmbeddingTable, recall_target: float = RECALL_TARGET) -> FaissIndex:
        """Memory-map an index that :meth:`save` wrote.

        Args:
            file: the file.
            table: it was built from.
            recall_target: of searches under a filter.

        Raises:
            ArtifactError: there is no such file, or it is of another table.
        """
        if not file.exists():
            raise ArtifactError(f"There is no index file {file}.", "Build the index generation again.")
        stored = faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
        inner = faiss.downcast_index(stored.index) if isinstance(stored, faiss.IndexIDMap) else stored
        opened = cls(stored, table.vectors, own_effort(inner), recall_target)
        last = stored.ntotal - 1 if opened._rows is None else opened._rows[-1]
        if inner.d != table.width or last >= len(table.ids):
            raise ArtifactError(f"{file} was not built from this table.", "Build the index generation again.")
        return opened

    def __len__(self) -> int:
        return len(self._vectors)

    def search(self, queries: FloatArray, k: int, selection: Selection | None = None) -> tuple[RowArray, FloatArray]:
        """See :meth:`recsys.index.base.VectorIndex.search`."""
        answers = self.search_traced(queries, k, selection)
        return answers.rows, answers.scores

    def search_traced(self, queries: FloatArray, k: int, selection: Selection | None = None) -> Answers:
        """The same, and how each query was answered."""
        check_queries(queries, self._index.d)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        chosen = selection or Selection()
        allowed = None if chosen.allowed is None else self._at_positions(chosen.allowed)
        matching = self.terrain.rows if allowed is None else int(np.count_nonzero(allowed))
        if allowed is None and chosen.excluded is None:
            return self._look(queries, k, None, matching, "everything")
        if self.terrain.comparing_is_quicker(matching, len(queries), self._breadth(k, matching)):
            return self._compare(queries, k, allowed, chosen)
        if chosen.excluded is None:
            return self._look(queries, k, allowed, matching, "selector")
        answers = Answers.none(k, Trace.of(len(queries), "over-fetch", 0, matching))
        sizes = np.array([len(rows) for rows in chosen.excluded], np.int64)
        few = np.flatnonzero(sizes <= DROPPED)
        if len(few):
            deeper = self._look(queries[few], k + int(sizes[few].max()), allowed, matching, "over-fetch")
            answers.put(few, deeper.without([chosen.excluded[query] for query in few.tolist()], len(self), k))
        for query in np.flatnonzero(sizes > DROPPED).tolist():  # what one query excludes is a filter of its own
            own = Selection(chosen.mask(query, len(self)))
            answers.put(np.array([query]), self.search_traced(queries[query : query + 1], k, own))
        return answers

    def _look(self, queries: FloatArray, k: int, allowed: Mask | None, matching: int, way: Way) -> Answers:
        """Ask FAISS, and look harder where fewer than ``min(k, matching)`` are found."""
        depth = min(k, matching)
        if not depth or not len(queries):
            return Answers.none(k, Trace.of(len(queries), way, 0, matching))
        share = matching / self.terrain.rows
        breadth = self.effort.breadth if allowed is None else self._breadth(k, matching)
        trace = Trace.of(len(queries), way, breadth, matching)
        bitmap = None if allowed is None else np.packbits(allowed, bitorder="little")
        scores, positions = self._ask(queries, depth, breadth, bitmap)

        def again(which: Positions, breadth: int) -> None:
            scores[which], positions[which] = self._ask(queries[which], depth, breadth, bitmap)
            for query in which.tolist():
                trace.breadths[query] = breadth

        while positions[:, -1].min() < 0 and breadth < self.terrain.limit:
            breadth = min(WIDENING * breadth, self.terrain.limit)
            again(np.flatnonzero(positions[:, -1] < 0), breadth)
        left = np.flatnonzero(positions[:, -1] < 0)  # a graph need not reach everything
        if bitmap is not None and breadth < self.terrain.lists and depth < matching:
            wanted = self._few_calls(self._unread.breadths(queries, scores[:, -1], share, depth))
            far = np.flatnonzero(wanted > trace.breadths)
            reading = sum(self.terrain.reading_time(lists, share) for lists in wanted[far].tolist())
            if reading > len(far) * self.terrain.comparing_time(matching, len(far)):
                left = far
            else:
                for lists in np.unique(wanted[far]).tolist():
                    again(far[wanted[far] == lists], int(lists))
        found = Answers(*self.in_rows(positions, scores), trace)
        if len(left):
            found.put(left, self._compare(queries[left], depth, allowed, Selection()))
        if depth == k:
            return found
        answers = Answers.none(k, trace)
        answers.put(np.arange(len(queries)), found)
        return answers

    def _breadth(self, k: int, matching: int) -> int:
        """How broad a first look is when so many rows may be returned."""
        share = matching / self.terrain.rows if matching else 1.0
        if self.terrain.graph:
            return self.terrain.breadth_of_graph(self.effort, share)
        if not self.terrain.lists:
            return 0
        return max(self.effort.breadth, int(self._few_calls(self._unread.typical_breadth(k, share))))

    def _few_calls(self, breadths: int | Positions) -> npt.NDArray[np.float64]:
        """Breadths rounded up to powers of two, so that many queries share one."""
        rounded: npt.NDArray[np.float64] = 2 ** np.ceil(np.log2(np.maximum(breadths, 1)))
        return np.minimum(rounded, self.terrain.limit)

    @cached_property
    def _unread(self) -> Unread:
        size = min(self.terrain.rows, CENTROID_SAMPLE)
        sample = np.sort(np.random.default_rng(0).choice(self.terrain.rows, size, replace=False))
        vectors = np.asarray(self._vectors[sample if self._rows is None else self._rows[sample]])
        return Unread.of(centroids(self._index), vectors, self.terrain.rows, 1 - self._recall_target)

    def _ask(
        self, queries: FloatArray, k: int, breadth: int, bitmap: npt.NDArray[np.uint8] | None
    ) -> tuple[FloatArray, Positions]:
        refine = self.effort.refine * (1 if bitmap is None or not self.refines else FILTERED_REFINE)
        effort = Effort(breadth, refine)
        scores, positions = self._index.search(queries, k, params=parameters(self._index, effort, bitmap))
        return scores, positions

    def _compare(self, queries: FloatArray, k: int, allowed: Mask | None, selection: Selection) -> Answers:
        """Compare every row that may be returned, exactly."""
        positions = np.arange(self.terrain.rows) if allowed is None else np.flatnonzero(allowed)
        wanted = (positions if self._rows is None else self._rows[positions]).astype(np.int32)
        rows, scores = nearest_among(self._vectors, wanted, queries, k, selection)
        return Answers(rows, scores, Trace.of(len(queries), "matching rows", 0, len(wanted)))

    def _at_positions(self, mask: Mask) -> Mask:
        return mask if self._rows is None else mask[self._rows]

    def in_rows(self, positions: Positions, scores: FloatArray) -> tuple[RowArray, FloatArray]:
        """Rows of the positions that FAISS found, equal scores in the order of rows."""
        if self._rows is None:
            rows = positions.astype(np.int32)
        else:
            rows = self._rows[positions]
            rows[positions < 0] = NO_ROW
        if (scores[:, 1:] == scores[:, :-1]).any():
            order = np.lexsort((rows, -scores), axis=1)
            return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
        return rows, scores
