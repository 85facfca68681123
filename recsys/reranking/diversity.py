"""SSD*: choose a good and varied slate by sliding spectrum decomposition (2107.05204), in its stable form."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field

from recsys.config import BaseConfig
from recsys.types import FloatArray

Matrix = npt.NDArray[np.float64]

RANK_TOLERANCE = 1e-8
"""A direction shorter than this (of vectors of length sqrt 2) is rounding error."""


class SSDConfig(BaseConfig):
    """How much variety is worth, and how far back a reader remembers."""

    gamma: float = Field(
        0.5, ge=0
    )  # standard deviations of the score that a fully new item is worth, per unit of residual
    window: int = Field(5, ge=1)  # neighbouring items that should differ; 1 = order by score


def ssd(
    scores: FloatArray, vectors: FloatArray, size: int, config: SSDConfig, previous: FloatArray | None = None
) -> npt.NDArray[np.int64]:
    """Pick ``size`` items one by one: argmax of z-scored score + gamma * ||residual||.

    The residual is what remains of the item's vector (unit length, a constant 1 appended) after projection on the span
    of the last ``window - 1`` picks, computed exactly for each window. The inputs are not modified. Ties go to the
    earlier item.

    Args:
        scores: float ``[n]``, the higher, the better.
        vectors: unit vectors or zeros, ``[n, d]``.
        size: picks wanted; all n, if fewer.
        config: see :class:`SSDConfig`.
        previous: vectors of what was shown just before, in order, ``[p, d]``; the window starts with the last of them.

    Returns:
        Positions in ``scores``, in the order of the slate, ``[min(size, n)]``.
    """
    relevance = _z_scored(scores)
    items = _lifted(vectors)
    window = [] if previous is None else list(_lifted(previous))
    memory = config.window - 1
    free = np.ones(len(scores), np.bool_)
    order = np.empty(min(size, len(scores)), np.int64)
    for step in range(len(order)):
        recent = window[len(window) - min(memory, len(window)) :]
        value = relevance + config.gamma * _residuals(items, recent)
        pick = int(np.argmax(np.where(free, value, -np.inf)))
        order[step] = pick
        free[pick] = False
        window.append(items[pick])
    return order


def _z_scored(scores: FloatArray) -> Matrix:
    values = scores.astype(np.float64)
    if len(values) == 0 or values.max() == values.min():
        return np.zeros_like(values)
    return np.asarray((values - values.mean()) / values.std())


def _lifted(vectors: FloatArray) -> Matrix:
    return np.hstack([vectors.astype(np.float64), np.ones((len(vectors), 1))])


def _residuals(items: Matrix, recent: list[Matrix]) -> Matrix:
    """Length of what of each item ``[n, d]`` is orthogonal to all ``recent`` vectors, ``[n]``."""
    if not recent:
        return np.asarray(np.linalg.norm(items, axis=1))
    _, lengths, directions = np.linalg.svd(np.stack(recent), full_matrices=False)
    basis = directions[lengths > RANK_TOLERANCE]
    return np.asarray(np.linalg.norm(items - (items @ basis.T) @ basis, axis=1))
