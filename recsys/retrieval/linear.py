"""LinearSource: base of sources that score by item-item weights fitted in closed form."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recsys.retrieval.base import Neighbour, neighbours
from recsys.retrieval.matrix import MatrixSource, decayed_profiles, decayed_recent
from recsys.types import FloatArray, Histories, RowArray


class LinearSource(MatrixSource):
    """Scores are the decayed recent history times item-item weights.

    They know the most engaged items only, since memory and time grow with the square and the cube of their number; the
    others score 0, and do not ask for any.

    Args:
        name: of the source.
        counts: engagements by item row.
        max_items: how many items it knows.
        last: newest engagements that ask.
        decay: per engagement further back.
    """

    weights: FloatArray  # of known items, ``[known, known]``: what the row says for the column

    def __init__(self, name: str, counts: npt.NDArray[np.int64], max_items: int, last: int, decay: float) -> None:
        super().__init__(name, len(counts))
        engaged = np.flatnonzero(counts)
        self.known: RowArray = np.sort(engaged[np.argsort(-counts[engaged], kind="stable")][:max_items])
        self.last = last
        self.decay = decay

    def score_all(self, histories: Histories) -> FloatArray:
        profiles = decayed_profiles(histories, self.n_items, self.last, self.decay)
        scores = np.zeros((len(histories), self.n_items), np.float32)
        scores[:, self.known] = profiles[:, self.known] @ self.weights
        return scores

    def evidence(self, history: Histories, row: int) -> list[Neighbour]:
        rows, strength = (values[0] for values in decayed_recent(history, self.last, self.decay))
        column = np.flatnonzero(self.known == row)
        if not len(column):
            return []
        place = np.minimum(np.searchsorted(self.known, rows), len(self.known) - 1)
        weight = np.where(self.known[place] == rows, self.weights[place, column[0]], 0)
        return neighbours(rows, weight, strength * weight)
