"""Which way a search with a selection goes, by an estimate of time, and how hard it looks on that way."""

from __future__ import annotations

import math
from dataclasses import dataclass

from recsys.index.kinds import Effort

# Nanoseconds on one core at 2.5 GHz, measured at 200,000 x 256; only their ratios decide.
GATHER = 0.6  # to copy one float of a row from somewhere in a large table
MULTIPLY = 0.06  # to multiply one float that is at hand
KEEP = 2.5  # to look at one inner product
TEST = 3.5  # to read one bit of a bitmap in the order of an inverted list
JUMP = 80.0  # to go to one code somewhere
START = 60_000.0  # to begin, once for all queries of a call
AGAIN = 2  # times a first look into lists: some queries read on, or are compared after all
HARDER = 4  # times as hard a graph looks under a filter, since the nearest rows may all be kept back
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

    def breadth_of_graph(self, effort: Effort, share: float) -> int:
        """Nodes to keep in view when this share of the rows may be returned, to meet as many of them as without."""
        return min(self.limit, math.ceil(HARDER * effort.breadth / share))

    def comparing_is_quicker(self, matching: int, queries: int, breadth: int) -> bool:
        """Whether comparing all rows that may be returned costs less than passing over the others."""
        if matching == 0:
            return True
        return self.comparing_time(matching, queries) <= self.selector_time(matching / self.rows, queries, breadth)

    def comparing_time(self, matching: int, queries: int) -> float:
        """Nanoseconds a query to compare so many rows, which are copied once for all queries."""
        shared = START + matching * self.width * GATHER
        return shared / max(queries, 1) + matching * (self.width * MULTIPLY + KEEP)

    def selector_time(self, share: float, queries: int, breadth: int) -> float:
        """Nanoseconds a query to search so broadly with a bitmap, when this share of the rows is set in it."""
        start = START / max(queries, 1)
        if self.graph:
            return start + breadth * PER_NODE * (self.width * MULTIPLY + JUMP)
        return start + AGAIN * self.reading_time(breadth, share)

    def reading_time(self, lists: float, share: float) -> float:
        """Nanoseconds to read so many lists through a bitmap, the way to them included."""
        met = self.rows * min(self.lists, lists) / self.lists if self.lists else self.rows
        return 2 * self.lists * self.width * MULTIPLY + met * (TEST + share * (self.width * MULTIPLY + JUMP))
