"""Sequences: stretches of users' engagements to learn the next one from, drawn by the number of the step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.data.interactions import Interactions
from recsys.towers.user import strength_numbers
from recsys.types import NO_ROW, RowArray

NEVER = np.iinfo(np.int32).max


@dataclass(frozen=True, eq=False)
class SequenceBatch:
    """Stretches of n users, oldest engagement first, padded at the end with ``NO_ROW``.

    Attributes:
        users: user rows, ``[n]``.
        items: item rows, ``[n, t]``.
        strengths: numbers of :data:`recsys.towers.user.STRENGTHS`, ``[n, t]``.
        targets: the item that followed each, ``[n, t]``.
        places: how many engagements the user had before each target, ``[n, t]``.
    """

    users: RowArray
    items: RowArray
    strengths: npt.NDArray[np.int64]
    targets: RowArray
    places: RowArray


class Sequences:
    """The engagements of users, as something to draw batches from.

    Args:
        interactions: what may be learned from.
        last: longest stretch.
        seed: of all draws.
    """

    def __init__(self, interactions: Interactions, last: int, seed: int) -> None:
        self.interactions = interactions
        self.last = last
        self.seed = seed
        self.offsets = interactions.histories().offsets
        stretches = np.ceil((np.diff(self.offsets) - 1) / last).clip(min=0)
        self._chances = stretches / max(stretches.sum(), 1)
        self._n_items = len(interactions.items_map)
        keys = interactions.users.astype(np.int64) * self._n_items + interactions.items
        order = np.argsort(keys)
        self._pairs = keys[order]
        self._places = (order - self.offsets[interactions.users[order]]).astype(np.int32)

    def __len__(self) -> int:
        """How many users have at least two engagements."""
        return int((self._chances > 0).sum())

    def draw(self, step: int, users: int) -> SequenceBatch:
        """A batch for one step; long histories are drawn more often, each time another stretch of them."""
        random = np.random.default_rng([self.seed, step])
        chosen = random.choice(len(self._chances), users, p=self._chances)
        starts, stops = self.offsets[chosen], self.offsets[chosen + 1]
        longest = self.last + 1
        spare = np.maximum(stops - starts - longest, 0)
        begins = starts + (random.random(users) * (spare + 1)).astype(np.int64)
        cells = begins[:, None] + np.arange(longest)
        real = cells < stops[:, None]
        cells = np.where(real, cells, 0)
        rows = np.where(real, self.interactions.items[cells], NO_ROW).astype(np.int32)
        strengths = strength_numbers(self.interactions.weights[cells])
        length = int(real.sum(axis=1).max())
        items, targets = rows[:, : length - 1].copy(), rows[:, 1:length]
        items[targets == NO_ROW] = NO_ROW
        places = (begins - starts)[:, None] + np.arange(1, length)
        return SequenceBatch(
            chosen.astype(np.int32), items, strengths[:, : length - 1], targets, places.astype(np.int32)
        )

    def places(self, users: RowArray, items: RowArray) -> RowArray:
        """How many engagements each user had before the one with each item, ``[n, m]``; ``NEVER`` without one."""
        keys = users.astype(np.int64)[:, None] * self._n_items + items[None, :]
        found = np.minimum(np.searchsorted(self._pairs, keys), len(self._pairs) - 1)
        return np.where(self._pairs[found] == keys, self._places[found], NEVER)
