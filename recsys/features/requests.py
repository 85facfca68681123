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
        as_new: candidates to be described as if nobody had met them yet, bool ``[n, m]``; ``None`` = none of them.
    """

    histories: Histories
    users: RowArray
    times: npt.NDArray[np.int64] | None
    rows: RowArray
    as_new: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def padded(self) -> npt.NDArray[np.bool_]:
        """Where there is no candidate, bool ``[n, m]``."""
        return np.equal(self.rows, NO_ROW)

    @property
    def met(self) -> RowArray:
        """The rows that have a past, int32 ``[n, m]``: ``NO_ROW`` where there is no candidate or it is ``as_new``."""
        return self.rows if self.as_new is None else np.where(self.as_new, NO_ROW, self.rows).astype(np.int32)

    def part(self, start: int, stop: int) -> RankingRequests:
        """The requests ``start:stop``."""
        times = None if self.times is None else self.times[start:stop]
        as_new = None if self.as_new is None else self.as_new[start:stop]
        histories, users = self.histories.slice(start, stop), self.users[start:stop]
        return RankingRequests(histories, users, times, self.rows[start:stop], as_new)

    def blocks(self, size: int) -> Iterator[tuple[slice, RankingRequests]]:
        """Consecutive slices of at most ``size`` requests, with the requests in them."""
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            yield slice(start, stop), self.part(start, stop)
