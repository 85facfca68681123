"""Unread: what the inverted lists that a search did not read are expected to hold for it.

Lists are read nearest first, as many as suit an unfiltered query. Under a filter the best rows that may be returned can
lie far out, in lists that would never be read: a query about food among travel notes. So the search asks, after a first
look, how many rows better than its last answer the unread lists should hold, and reads on where they are too many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from recsys.types import FloatArray

ALLOWANCE = 0.05  # of the answers, that may be missed
NEAR = 0.3  # share of the pairs that the line is drawn through: those of a query with its nearer lists


@dataclass(frozen=True, eq=False)
class Unread:
    """The lists of an index, seen from afar.

    The inner product of a query with a vector is taken to be normal around a line over its product with the centroid
    of the vector's list. The line and the spread around it are those of pairs of the indexed vectors themselves.

    Attributes:
        centroids: ``[lists, d]``.
        slope: of the line.
        intercept: of the line.
        spread: standard deviation around the line.
        rows: in the index.
    """

    centroids: FloatArray
    slope: float
    intercept: float
    spread: float
    rows: int

    @classmethod
    def of(cls, centroids: FloatArray, sample: FloatArray, rows: int) -> Unread:
        """Measured on a sample ``[s, d]`` of the vectors in the lists, each in turn the query of the others."""
        to_lists = sample @ centroids.T
        expected = to_lists[:, to_lists.argmax(axis=1)]
        others = ~np.eye(len(sample), dtype=np.bool_)
        near = others & (expected >= np.quantile(expected[others], 1 - NEAR)) if others.any() else ~others
        x, y = expected[near], (sample @ sample.T)[near]
        slope, intercept = np.polyfit(x, y, 1) if len(x) > 2 and np.ptp(x) > 0 else (1.0, 0.0)
        spread = float(np.std(y - slope * x - intercept))
        return cls(centroids, float(slope), float(intercept), max(spread, 1e-4), rows)

    def breadths(self, queries: FloatArray, worst: FloatArray, share: float, k: int) -> npt.NDArray[np.int64]:
        """Lists to read so that no more than :data:`ALLOWANCE` of k answers is expected in the others.

        Args:
            queries: ``[q, d]``.
            worst: score of the last of k answers found so far, ``[q]``.
            share: of the rows that may be returned, taken to be spread evenly over the lists.
            k: number of neighbours.
        """
        means = self.slope * (queries @ self.centroids.T) + self.intercept
        better = ndtr((means - worst[:, None]) / self.spread) * (share * self.rows / len(self.centroids))
        better.sort(axis=1)  # the furthest list, which should hold the fewest, first
        skipped: npt.NDArray[np.int64] = (better.cumsum(axis=1) <= ALLOWANCE * k).sum(axis=1)
        return len(self.centroids) - skipped
