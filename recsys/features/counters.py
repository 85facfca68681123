"""AsOfCounter: how much had happened to a key strictly before a moment, for many keys and moments at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]


class AsOfCounter:
    """Events sorted by key, then time; a count is the difference of two binary searches.

    Args:
        keys: int64 ``[events]``, e.g. an item row, or user row * categories + category.
        times: int64 ``[events]``, milliseconds since 1970.
    """

    def __init__(self, keys: Int64, times: Int64) -> None:
        self._keys = np.unique(keys)
        self._times = np.unique(times)  # moments become ranks, so that (key, moment) fits one integer
        self._span = len(self._times) + 1
        ranks = np.searchsorted(self._times, times)
        self._events = np.sort(np.searchsorted(self._keys, keys) * self._span + ranks)

    def before(self, keys: Int64, times: Int64, window_ms: int | None = None) -> Int64:
        """Events of each key in ``[time - window_ms, time)``, or in all the time before it.

        Args:
            keys: any shape.
            times: same shape.
            window_ms: length of the window in milliseconds; ``None`` = since ever.
        """
        if len(self._keys) == 0:
            return np.zeros(keys.shape, np.int64)
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        known = self._keys[place] == keys
        start = 0 if window_ms is None else np.searchsorted(self._times, times - window_ms)
        stop = np.searchsorted(self._times, times)
        first = np.searchsorted(self._events, place * self._span + start)
        last = np.searchsorted(self._events, place * self._span + stop)
        return np.where(known, last - first, 0)
