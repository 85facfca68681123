"""GPU: the same search with the codes of an index on a GPU, where the ``faiss`` installed has GPUs; else on the CPU.

The classic GPU indexes of FAISS do not heed a selection (faiss issue 3924), so more is fetched than asked for and what
may not be returned is dropped; a query left with too little goes to the CPU index. Indexes are saved from and loaded to
the CPU, which keeps its copy.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import faiss
import numpy as np

from recsys.index.ann import FaissIndex
from recsys.index.answers import Answers, Trace
from recsys.index.base import VectorIndex, check_queries
from recsys.index.kinds import Effort, parameters
from recsys.index.selection import Selection
from recsys.types import NO_ROW, FloatArray, RowArray

LOG = logging.getLogger(__name__)
DEEPEST = 2048  # that FAISS fetches on a GPU


def on_gpu(index: FaissIndex, device: int = 0) -> VectorIndex:
    """The index on a GPU, or itself with a line in the log where that cannot be."""
    library: Any = faiss
    if library.get_num_gpus() == 0:
        LOG.warning("FAISS sees no GPU: searching on the CPU. Install faiss-gpu instead of faiss-cpu to use one.")
        return index
    if index.refines or index.terrain.graph:
        LOG.warning("A %s index has no GPU form: searching on the CPU.", "graph" if index.terrain.graph else "refining")
        return index
    resources = library.StandardGpuResources()
    copy = library.index_cpu_to_gpu(resources, device, index.faiss_index)
    return OverFetchingIndex(copy, index, resources)


class OverFetchingIndex:
    """Searches a copy of an index that knows nothing of selections.

    Args:
        copy: of the index of FAISS, on another device.
        index: the original, which answers what the copy leaves open.
        device: whatever must live as long as the copy.
    """

    def __init__(self, copy: Any, index: FaissIndex, device: object = None) -> None:
        self._copy = copy
        self._index = index
        self._device = device

    def __len__(self) -> int:
        return len(self._index)

    def search(self, queries: FloatArray, k: int, selection: Selection | None = None) -> tuple[RowArray, FloatArray]:
        """See :meth:`recsys.index.base.VectorIndex.search`."""
        check_queries(queries, self._copy.d)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        chosen = selection or Selection()
        share = 1.0 if chosen.allowed is None else float(np.mean(chosen.allowed))
        most = max((len(rows) for rows in chosen.excluded), default=0) if chosen.excluded else 0
        depth = min(math.ceil((k + most) / max(share, 1e-9)), self._copy.ntotal)
        if not len(queries) or not 0 < depth <= DEEPEST:
            return self._index.search(queries, k, selection)
        found = self._fetched(queries, k, depth, chosen)
        answers = Answers.none(k, found.trace)
        answers.put(np.arange(len(queries)), found)
        short = np.flatnonzero(answers.rows[:, -1] == NO_ROW)
        if len(short):
            answers.rows[short], answers.scores[short] = self._index.search(queries[short], k, chosen.of(short))
        return answers.rows, answers.scores

    def _fetched(self, queries: FloatArray, k: int, depth: int, selection: Selection) -> Answers:
        """The first k, of so many fetched, that may be returned."""
        breadth = min(self._index.terrain.limit, self._index.effort.breadth * math.ceil(depth / k))
        effort = parameters(self._index.faiss_index, Effort(breadth))
        scores, positions = self._copy.search(queries, depth, params=effort)
        rows, scores = self._index.in_rows(positions, scores)
        if selection.allowed is not None:
            rows[~selection.allowed[rows]] = NO_ROW
        nothing = [np.empty(0, np.int32)] * len(queries)
        found = Answers(rows, scores, Trace.of(len(queries), "over-fetch", breadth, len(self)))
        return found.without(list(selection.excluded or nothing), len(self), k)
