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


def uniformity(vectors: FloatArray) -> float:
    """Logarithm of the mean of exp(-2 |x - y|^2) over distinct pairs: 0 where all are equal, lower the more they spread.

    Args:
        vectors: unit vectors ``[n, d]``, at least two.
    """
    n = len(vectors)
    total = 0.0
    for start in range(0, n, ROWS_PER_BLOCK):
        squared = 2 - 2 * (vectors[start : start + ROWS_PER_BLOCK] @ vectors.T).astype(np.float64)
        total += float(np.exp(-TEMPERATURE * np.maximum(squared, 0)).sum())
    return float(np.log((total - n) / (n * (n - 1))))
