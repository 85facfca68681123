"""RankingRequests: who asks, what they did before, when, and which items are to be ranked for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.types import NO_ROW, Histories, RowArray


@dataclass(frozen=True, eq=False)
class RankingRequests:
    """n requests with up to m candidates each.

    Attributes:
        histories: what each requesting user did before the request.
        users: user rows, int32 ``[n]``; ``NO_ROW`` for a user nobody has met.
        times: moment of each request, int64 ``[n]``, milliseconds since 1970; ``None`` where there is no clock.
        rows: candidate item rows, int32 ``[n, m]``, padded with ``NO_ROW``.
    """

    histories: Histories
    users: RowArray
    times: npt.NDArray[np.int64] | None
    rows: RowArray

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def padded(self) -> npt.NDArray[np.bool_]:
        """Where there is no candidate, bool ``[n, m]``."""
        return np.equal(self.rows, NO_ROW)

    def part(self, start: int, stop: int) -> RankingRequests:
        """The requests ``start:stop``."""
        times = None if self.times is None else self.times[start:stop]
        return RankingRequests(self.histories.slice(start, stop), self.users[start:stop], times, self.rows[start:stop])

    def blocks(self, size: int) -> Iterator[tuple[slice, RankingRequests]]:
        """Consecutive slices of at most ``size`` requests, with the requests in them."""
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            yield slice(start, stop), self.part(start, stop)
