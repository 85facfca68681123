"""Answers: the rows and scores of a batch of queries, and the trace of how each query came by them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from recsys.types import NO_ROW, FloatArray, RowArray

Way = Literal["everything", "selector", "over-fetch", "matching rows"]
"""``everything``: nothing was selected. ``selector``: the index passed over rows that may not be returned.
``over-fetch``: more were fetched than asked for, and those that a query excludes were dropped. ``matching rows``: all
rows that may be returned were compared exactly, and nothing else."""


@dataclass(frozen=True)
class Trace:
    """How each query of a search was answered.

    Attributes:
        ways: one a query, see :data:`Way`.
        breadths: lists read or nodes kept in view; 0 where there is no such thing.
        matching: rows that could be returned.
    """

    ways: list[Way]
    breadths: list[int]
    matching: list[int]

    @classmethod
    def of(cls, queries: int, way: Way, breadth: int, matching: int) -> Trace:
        return cls([way] * queries, [breadth] * queries, [matching] * queries)

    def __str__(self) -> str:
        """Such as ``3 by selector among 1,200 rows, 1 by over-fetch among 90,000 rows``."""
        counts = Counter(zip(self.ways, self.matching, strict=True))
        return ", ".join(f"{count} by {way} among {matching:,} rows" for (way, matching), count in counts.items())


@dataclass(frozen=True, eq=False)
class Answers:
    """What was found.

    Attributes:
        rows: int32 ``[q, k]``, best first, padded with ``NO_ROW``.
        scores: inner products ``[q, k]``, ``-inf`` where padded.
        trace: of the queries.
    """

    rows: RowArray
    scores: FloatArray
    trace: Trace

    @classmethod
    def none(cls, k: int, trace: Trace) -> Answers:
        """Nothing found yet by the queries of a trace."""
        shape = (len(trace.ways), k)
        return cls(np.full(shape, NO_ROW, np.int32), np.full(shape, -np.inf, np.float32), trace)

    def put(self, queries: npt.NDArray[np.int64], part: Answers) -> None:
        """Fill in what some queries found, at most as many rows as there is room for."""
        width = part.rows.shape[1]
        self.rows[queries, :width], self.scores[queries, :width] = part.rows, part.scores
        for place, query in enumerate(queries.tolist()):
            self.trace.ways[query] = part.trace.ways[place]
            self.trace.breadths[query] = part.trace.breadths[place]
            self.trace.matching[query] = part.trace.matching[place]

    def without(self, excluded: list[RowArray], n_rows: int, k: int) -> Answers:
        """The first k that a query does not exclude, order kept.

        Args:
            excluded: rows, one array a query.
            n_rows: of the table.
            k: number of neighbours.
        """
        numbers = np.arange(len(self.rows), dtype=np.int64)
        gone = np.repeat(numbers * n_rows, [len(rows) for rows in excluded]) + np.concatenate(excluded)
        out = np.isin(self.rows + numbers[:, None] * n_rows, gone) | (self.rows == NO_ROW)
        first = np.argsort(out, axis=1, kind="stable")[:, :k]
        dropped = np.take_along_axis(out, first, axis=1)
        rows = np.where(dropped, NO_ROW, np.take_along_axis(self.rows, first, axis=1))
        scores = np.where(dropped, np.float32(-np.inf), np.take_along_axis(self.scores, first, axis=1))
        return Answers(rows, scores, self.trace)
