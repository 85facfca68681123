"""Random source: the floor every other source is measured against."""

from __future__ import annotations

import numpy as np

from recsys.retrieval.matrix import MatrixSource
from recsys.types import FloatArray, Histories


class RandomSource(MatrixSource):
    """A score in (0, 1] hashed from seed, history and item: uniform, and the same whenever it is asked again.

    Args:
        n_items: size of the catalogue.
        seed: another seed, another order.
        name: of the source.
    """

    knows_new_items = True

    def __init__(self, n_items: int, seed: int = 0, name: str = "random") -> None:
        super().__init__(name, n_items)
        self._items = _mixed(np.arange(n_items, dtype=np.uint64) + np.uint64(seed << 32))

    def score_all(self, histories: Histories) -> FloatArray:
        ends = _mixed(histories.items.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        cumulative = np.concatenate([np.zeros(1, np.uint64), np.cumsum(ends, dtype=np.uint64)])
        users = cumulative[histories.offsets[1:]] - cumulative[histories.offsets[:-1]]
        bits = _mixed(users[:, None] ^ self._items[None, :]) >> np.uint64(40)
        return ((bits + np.uint64(1)) / np.float64(2**24)).astype(np.float32)


def _mixed(
    values: np.ndarray[tuple[int, ...], np.dtype[np.uint64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    """The finaliser of splitmix64: neighbouring integers become unrelated ones."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
