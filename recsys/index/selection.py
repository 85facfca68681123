"""Selection: which rows a search may return, for all its queries and for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.types import RowArray

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Selection:
    """The rows allowed to every query, less those that a query excludes (what its user has seen).

    Attributes:
        allowed: ``[n]``, true where a row may be returned; ``None`` allows all.
        excluded: rows that a query must not return, one array a query, in any order; ``None`` excludes nothing.
    """

    allowed: Mask | None = None
    excluded: Sequence[RowArray] | None = None

    def of(self, queries: slice | npt.NDArray[np.int64]) -> Selection:
        """The same for some of the queries."""
        if self.excluded is None:
            return self
        if isinstance(queries, slice):
            return Selection(self.allowed, self.excluded[queries])
        return Selection(self.allowed, [self.excluded[query] for query in queries])

    def mask(self, query: int, rows: int) -> Mask:
        """What one query may return, a new ``[rows]``."""
        mask = np.ones(rows, np.bool_) if self.allowed is None else self.allowed.copy()
        if self.excluded is not None:
            mask[self.excluded[query]] = False
        return mask

    @property
    def excluded_pairs(self) -> tuple[npt.NDArray[np.int64], RowArray]:
        """Numbers of queries and the rows they exclude, ``[e]`` each, ascending by row."""
        if not self.excluded:
            return np.zeros(0, np.int64), np.zeros(0, np.int32)
        queries = np.repeat(np.arange(len(self.excluded)), [len(rows) for rows in self.excluded])
        rows = np.concatenate(self.excluded).astype(np.int32, copy=False)
        order = np.argsort(rows, kind="stable")
        return queries[order], rows[order]
