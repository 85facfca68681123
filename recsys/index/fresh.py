"""FreshSegment: what was added since a base generation was built, in arrays that only grow.

A row once written never changes, so a search may read it without a lock while others are added behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from recsys.index.selection import Mask
from recsys.types import NO_ROW, FloatArray, RowArray

FIRST_CAPACITY = 1024


class FreshSegment:
    """Versions of items in the order they were written: id, vector, and the row of the version before.

    Args:
        width: of the vectors.
    """

    def __init__(self, width: int) -> None:
        self._ids: npt.NDArray[np.object_] = np.empty(FIRST_CAPACITY, object)
        self._vectors = np.empty((FIRST_CAPACITY, width), np.float32)
        self._earlier = np.empty(FIRST_CAPACITY, np.int32)
        self._latest: dict[str, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, ids: Sequence[str], vectors: FloatArray) -> RowArray:
        """Add new versions of items.

        Args:
            ids: the items, which may repeat: the last counts.
            vectors: ``[n, d]``, unit length or zero.

        Returns:
            Rows here of the versions they replace, ``NO_ROW`` where there is none, ``[n]``.
        """
        start, end = self._count, self._count + len(ids)
        self._reserve(end)
        self._vectors[start:end] = vectors
        for row, item in enumerate(ids, start):
            self._ids[row] = item
            self._earlier[row] = self._latest.get(item, NO_ROW)
            self._latest[item] = row
        self._count = end
        return self._earlier[start:end]

    def latest(self, item: str, before: int) -> int:
        """Row of an item's last version among the first ``before`` rows, ``NO_ROW`` where there is none."""
        row = self._latest.get(item, NO_ROW)
        while row >= before:
            row = int(self._earlier[row])
        return row

    def view(self) -> tuple[npt.NDArray[np.object_], FloatArray]:
        """Ids ``[m]`` and vectors ``[m, d]`` written so far; they stay as they are."""
        return self._ids[: self._count], self._vectors[: self._count]

    def _reserve(self, size: int) -> None:
        capacity = len(self._ids)
        if size <= capacity:
            return
        while capacity < size:
            capacity *= 2
        for name in ("_ids", "_vectors", "_earlier"):
            old = getattr(self, name)
            new = np.empty((capacity, *old.shape[1:]), old.dtype)
            new[: self._count] = old[: self._count]
            setattr(self, name, new)


def grown(mask: Mask, size: int) -> Mask:
    """A copy of a mask with room for more rows, which are true."""
    new = np.ones(size, np.bool_)
    new[: len(mask)] = mask
    return new
