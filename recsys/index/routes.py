"""Which way a search with a selection goes, by an estimate of time, and how hard it looks on that way."""

from __future__ import annotations

import math
from dataclasses import dataclass

from recsys.index.kinds import Effort

# Nanoseconds on one core at 2.5 GHz, from benchmarks/bench_retrieval.py; only their ratios decide.
GATHER = 0.35  # to copy one float of a row from somewhere in a large table
MULTIPLY = 0.06  # to multiply one float that is at hand
KEEP = 2.5  # to look at one inner product
TEST = 2.0  # to read one bit of a bitmap in the order of an inverted list
JUMP = 60.0  # to read one code somewhere
WIDEST = 4096  # nodes that a graph keeps in view
PER_NODE = 25  # neighbours that a graph compares for each node it keeps in view


@dataclass(frozen=True)
class Terrain:
    """What an estimate needs to know of an index.

    Attributes:
        rows: in the index.
        width: of the vectors.
        lists: inverted lists; 0 for a graph and for a flat index.
        graph: whether it is one.
    """

    rows: int
    width: int
    lists: int
    graph: bool

    @property
    def limit(self) -> int:
        """The breadth beyond which looking harder finds no more, or costs more than it is worth."""
        return min(self.rows, WIDEST) if self.graph else self.lists

    def breadth(self, effort: Effort, share: float) -> int:
        """So broad that as many rows that may be returned are met as without a selection.

        Args:
            effort: without a selection.
            share: of the rows that may be returned.
        """
        return min(self.limit, math.ceil(effort.breadth / share)) if share else self.limit

    def comparing_is_quicker(self, matching: int, queries: int, effort: Effort) -> bool:
        """Whether comparing all rows that may be returned costs less than passing over the others."""
        if matching == 0:
            return True
        return self.exact_time(matching, queries) <= self.selector_time(matching / self.rows, effort)

    def exact_time(self, matching: int, queries: int) -> float:
        """Nanoseconds a query to compare so many rows, which are copied once for all queries."""
        return matching * (self.width * (GATHER / max(queries, 1) + MULTIPLY) + KEEP)

    def selector_time(self, share: float, effort: Effort) -> float:
        """Nanoseconds a query to search with a bitmap, when this share of the rows is set in it."""
        breadth = self.breadth(effort, share)
        if self.graph:
            return breadth * PER_NODE * (self.width * MULTIPLY + JUMP)
        met = self.rows * breadth / self.lists if self.lists else self.rows
        return self.lists * self.width * MULTIPLY + met * TEST + met * share * (self.width * MULTIPLY + JUMP / 2)
