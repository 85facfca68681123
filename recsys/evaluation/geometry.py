"""Alignment and uniformity of unit vectors: what contrastive learning trades against each other (2005.10242)."""

from __future__ import annotations

import numpy as np

from recsys.evaluation.metrics import Values
from recsys.types import FloatArray

TEMPERATURE = 2.0
ROWS_PER_BLOCK = 1024


def alignment(a: FloatArray, b: FloatArray) -> Values:
    """Squared distance of each pair of unit vectors, ``[n]``; its mean is the alignment: 0 is best, 4 is worst.

    Args:
        a: ``[n, d]``.
        b: ``[n, d]``, the partner of each row.
    """
    return np.asarray(np.square(a.astype(np.float64) - b).sum(axis=1))


def potentials(vectors: FloatArray) -> Values:
    """Mean of exp(-2 |x - y|^2) over all other y, per vector x, ``[n]``.

    The logarithm of their mean is the uniformity: 0 where all vectors are equal, lower the more they spread out.

    Args:
        vectors: unit vectors ``[n, d]``, at least two.
    """
    n = len(vectors)
    total = np.empty(n)
    for start in range(0, n, ROWS_PER_BLOCK):
        rows = slice(start, start + ROWS_PER_BLOCK)
        squared = 2 - 2 * (vectors[rows] @ vectors.T).astype(np.float64)
        total[rows] = np.exp(-TEMPERATURE * np.maximum(squared, 0)).sum(axis=1)
    return np.asarray((total - 1) / (n - 1))
