"""BatchSampler: which items a step learns from, by its number alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from recsys.data.pairs import ItemPairs
from recsys.types import RowArray


@dataclass(frozen=True, eq=False)
class BatchSampler:
    """Draws batches; which one depends on the seed and the step alone, so a resumed run continues the same stream.

    Attributes:
        items: rows to draw single items from.
        pairs: behaviour pairs to draw from; may be empty.
        seed: of the stream.
        n_items: single items a batch, drawn evenly.
        n_anchors: items a batch that are drawn by behaviour.
        partners: of each anchor, drawn by pair score.
    """

    items: RowArray
    pairs: ItemPairs
    seed: int
    n_items: int
    n_anchors: int
    partners: int

    def draw(self, step: int) -> RowArray:
        """Rows of one batch: single items, then anchors, then partners of the anchors.

        Anchors are drawn by the square root of their pairs' mass: head items do not fill the batch, tail items still
        come less often. An item may occur twice.
        """
        random = np.random.default_rng([self.seed, step])
        singles = random.choice(self.items, min(self.n_items, len(self.items)), replace=False)
        if len(self.pairs) == 0 or self.n_anchors == 0:
            return singles
        mass = self._mass
        low, high = mass[self._starts[:-1]], mass[self._starts[1:]]
        anchor = np.searchsorted(self._roots, random.random(self.n_anchors) * self._roots[-1], side="right")
        wanted = low[anchor] + random.random((self.partners, self.n_anchors)) * (high - low)[anchor]
        chosen = np.searchsorted(mass, wanted.ravel(), side="right") - 1
        return np.concatenate([singles, self.pairs.a[self._starts[anchor]], self.pairs.b[chosen]])

    def affinity(self, rows: RowArray) -> Tensor:
        """Pair scores among the items of a batch in either direction, float32 ``[n, n]``."""
        scores = self._matrix[rows][:, rows].toarray()
        return torch.from_numpy(scores + scores.T)

    def log_q(self, rows: RowArray) -> Tensor:
        """Log of the share of a batch that each item is expected to be, float32 ``[n]``."""
        return torch.from_numpy(self._log_q[rows])

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        """Where the pairs of each anchor begin, and the end."""
        new = np.flatnonzero(np.diff(self.pairs.a, prepend=-1))
        return np.append(new, len(self.pairs))

    @cached_property
    def _mass(self) -> npt.NDArray[np.float64]:
        return np.concatenate([[0.0], np.cumsum(self.pairs.scores, dtype=np.float64)])

    @cached_property
    def _roots(self) -> npt.NDArray[np.float64]:
        roots: npt.NDArray[np.float64] = np.cumsum(np.sqrt(np.diff(self._mass[self._starts])))
        return roots

    @cached_property
    def _log_q(self) -> npt.NDArray[np.float32]:
        expected = np.zeros(self._size)
        expected[self.items] = min(self.n_items, len(self.items)) / len(self.items)
        if len(self.pairs) and self.n_anchors:
            as_anchor = np.diff(self._roots, prepend=0.0) / self._roots[-1]
            masses = np.diff(self._mass[self._starts])
            np.add.at(expected, self.pairs.a[self._starts[:-1]], self.n_anchors * as_anchor)
            by_pair = np.repeat(as_anchor / masses, np.diff(self._starts)) * self.pairs.scores
            np.add.at(expected, self.pairs.b, self.n_anchors * self.partners * by_pair)
        share = expected / expected.sum()
        log_q: npt.NDArray[np.float32] = np.log(np.maximum(share, share[share > 0].min())).astype(np.float32)
        return log_q

    @property
    def _size(self) -> int:
        return 1 + max(int(rows.max(initial=0)) for rows in (self.items, self.pairs.a, self.pairs.b))

    @cached_property
    def _matrix(self) -> sparse.csr_array:
        return sparse.csr_array((self.pairs.scores, (self.pairs.a, self.pairs.b)), shape=(self._size, self._size))
