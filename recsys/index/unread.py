"""Unread: what the inverted lists that a search does not read are expected to hold for it.

Lists are read nearest first, as many as suit an unfiltered query. Under a filter the best rows that may be returned can
lie far out, in lists that would never be read: a query about food among travel notes. So a filtered search reads as
many lists as vectors of the index would need as queries. Then it asks how many rows better than its last answer the
unread lists should hold for this very query, and reads on where they are too many.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from recsys.types import FloatArray

NEAR = 0.3  # share of the pairs that the line is drawn through: those of a query with its nearer lists
NEGLIGIBLE = 0.1  # of the allowance: what lists may hold together that are not looked at one by one
TYPICAL, OFTEN = 16, 0.75  # queries that tell how many lists a query needs, and the share of them that it suffices for
LEVELS = 48  # of the last answer's score, at which that is measured


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
        allowance: share of the answers that may be missed.
        typical: ``[t, d]``, indexed vectors that stand for queries to come.
    """

    centroids: FloatArray
    slope: float
    intercept: float
    spread: float
    rows: int
    allowance: float
    typical: FloatArray

    @classmethod
    def of(cls, centroids: FloatArray, sample: FloatArray, rows: int, allowance: float) -> Unread:
        """Measured on a sample ``[s, d]`` of the vectors in the lists, each in turn the query of the others."""
        to_lists = sample @ centroids.T
        expected = to_lists[:, to_lists.argmax(axis=1)]
        others = ~np.eye(len(sample), dtype=np.bool_)
        near = others & (expected >= np.quantile(expected[others], 1 - NEAR)) if others.any() else ~others
        x, y = expected[near], (sample @ sample.T)[near]
        slope, intercept = np.polyfit(x, y, 1) if len(x) > 2 and np.ptp(x) > 0 else (1.0, 0.0)
        spread = float(np.std(y - slope * x - intercept))
        typical = sample[:: max(1, len(sample) // TYPICAL)][:TYPICAL]
        return cls(centroids, float(slope), float(intercept), max(spread, 1e-4), rows, allowance, typical)

    def typical_breadth(self, k: int, share: float) -> int:
        """Lists that a query needs before any is read, if it is like most indexed vectors.

        Args:
            k: number of neighbours.
            share: of the rows that may be returned, taken to be spread evenly over the lists.
        """
        depth, breadth = self._curve
        return int(np.ceil(np.interp(np.log(k / share), depth, breadth)))

    def breadths(self, queries: FloatArray, worst: FloatArray, share: float, k: int) -> npt.NDArray[np.int64]:
        """Lists to read so that no more than the allowance of k answers is expected in the others.

        Args:
            queries: ``[q, d]``.
            worst: score of the last of k answers found so far, ``[q]``.
            share: of the rows that may be returned, taken to be spread evenly over the lists.
            k: number of neighbours.
        """
        allowed = self.allowance * k / (share * self.rows)  # share of those rows that may be better and yet unread
        far = ndtri(min(NEGLIGIBLE * allowed, 0.5))
        levels = (self._means(queries) - worst[:, None]) / np.float32(self.spread)
        most = int((levels > far).sum(axis=1).max(initial=1))
        if most < len(self.centroids):  # sorting is what takes time
            levels = np.partition(levels, len(self.centroids) - most, axis=1)[:, len(self.centroids) - most :]
        better = ndtr(np.sort(levels, axis=1)) / len(self.centroids)  # the furthest list first
        limit = allowed if most == len(self.centroids) else (1 - NEGLIGIBLE) * allowed
        skipped: npt.NDArray[np.int64] = (better.cumsum(axis=1) <= limit).sum(axis=1)
        return most - skipped

    def _means(self, queries: FloatArray) -> FloatArray:
        """Expected products ``[q, lists]`` of queries with the vectors of each list."""
        means: FloatArray = np.float32(self.slope) * (queries @ self.centroids.T) + np.float32(self.intercept)
        return means

    @cached_property
    def _curve(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Logarithms of numbers of nearest rows, and the lists to read for so many."""
        means = np.sort(self._means(self.typical), axis=1)
        reach = 4 * self.spread
        depths = np.log(np.geomspace(1, max(self.rows, 2), LEVELS))
        found, needed = [], []
        for worst in np.linspace(means.max() + reach, means.min() - reach, LEVELS):
            better = ndtr((means - worst) / self.spread).cumsum(axis=1) * (self.rows / len(self.centroids))
            found.append(np.log(np.maximum(better[:, -1], 1e-9)))
            needed.append(means.shape[1] - (better <= self.allowance * better[:, -1:]).sum(axis=1))
        each = [np.interp(depths, *of) for of in zip(np.transpose(found), np.transpose(needed), strict=True)]
        return depths, np.quantile(each, OFTEN, axis=0)
