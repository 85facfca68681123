"""Unread: what the inverted lists that a search did not read are expected to hold for it.

Lists are read nearest first, as many as suit an unfiltered query. Under a filter the best rows that may be returned can
lie far out, in lists that would never be read: a query about food among travel notes. So the search asks, after a first
look, how many rows better than its last answer the unread lists should hold, and reads on where they are too many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from recsys.types import FloatArray

ALLOWANCE = 0.03  # of the answers, that may be missed


@dataclass(frozen=True, eq=False)
class Unread:
    """The lists of an index, seen from afar.

    A vector of list j is ``cosine`` times its centroid plus a rest in no particular direction of the d dimensions, so
    its inner product with a query q is normal with mean ``cosine <q, c_j>`` and variance ``(1 - cosine^2) / d``.

    Attributes:
        centroids: unit vectors ``[lists, d]``.
        cosine: of a vector with the centroid of its list, on average.
        rows: in the index.
    """

    centroids: FloatArray
    cosine: float
    rows: int

    @classmethod
    def of(cls, centroids: FloatArray, sample: FloatArray, rows: int) -> Unread:
        """Measured on a sample of the vectors in the lists."""
        return cls(centroids, float((sample @ centroids.T).max(axis=1).mean()), rows)

    def breadths(self, queries: FloatArray, worst: FloatArray, share: float, k: int) -> npt.NDArray[np.int64]:
        """Lists to read so that no more than :data:`ALLOWANCE` of k answers is expected in the others.

        Args:
            queries: ``[q, d]``.
            worst: score of the last of k answers found so far, ``[q]``.
            share: of the rows that may be returned, taken to be spread evenly over the lists.
            k: number of neighbours.
        """
        spread = math.sqrt(max(1 - self.cosine**2, 1e-6) / self.centroids.shape[1])
        better = ndtr((self.cosine * (queries @ self.centroids.T) - worst[:, None]) / spread)
        better *= share * self.rows / len(self.centroids)
        better.sort(axis=1)  # the furthest list, which should hold the fewest, first
        skipped: npt.NDArray[np.int64] = (better.cumsum(axis=1) <= ALLOWANCE * k).sum(axis=1)
        return len(self.centroids) - skipped
