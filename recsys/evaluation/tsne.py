"""Exact t-SNE (van der Maaten & Hinton, 2008) of up to a few thousand vectors, started from their principal components.

Nothing is drawn at random, so the same vectors give the same map.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recsys.types import FloatArray

COMPONENTS = 50
PERPLEXITY = 30.0
STEPS = 400
EXAGGERATED_STEPS = 120
EXAGGERATION = 12.0
HALVINGS = 40
TINY = 1e-12


def flat_map(vectors: FloatArray) -> FloatArray:
    """Positions in the plane, ``[n, 2]``, in which neighbours stay neighbours.

    Args:
        vectors: ``[n, d]``.
    """
    n = len(vectors)
    reduced = principal_components(vectors, COMPONENTS)
    position = np.zeros((n, 2), np.float32)
    position[:, : min(2, reduced.shape[1])] = reduced[:, :2]
    if n < 4:  # nothing to arrange
        return position
    target = _affinities(reduced)
    position *= 1e-4 / max(float(position.std()), TINY)
    velocity, gains = np.zeros_like(position), np.ones_like(position)
    rate = max(n / EXAGGERATION, 50.0)
    for step in range(STEPS):
        exaggerated = step < EXAGGERATED_STEPS
        gradient = _gradient(position, target * (EXAGGERATION if exaggerated else 1))
        gains = np.maximum(np.where(np.sign(gradient) == np.sign(velocity), gains * 0.8, gains + 0.2), 0.01)
        velocity = (0.5 if exaggerated else 0.8) * velocity - rate * gains * gradient
        position = (position + velocity).astype(np.float32)
    return np.asarray(position - position.mean(axis=0), dtype=np.float32)


def principal_components(vectors: FloatArray, count: int) -> FloatArray:
    """Coordinates along the first principal axes, ``[n, at most count]``; each axis points where its largest weight is
    positive, so that the signs do not depend on the solver.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:count]
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    return np.asarray(centred @ (axes * signs[:, None]).T, dtype=np.float32)


def _affinities(points: FloatArray) -> FloatArray:
    """Symmetric neighbour probabilities ``[n, n]`` at a perplexity that n allows."""
    n = len(points)
    squared = _squared_distances(points)
    np.fill_diagonal(squared, np.inf)
    squared -= squared.min(axis=1, keepdims=True)
    entropy = np.log(min(PERPLEXITY, (n - 1) / 3))
    low, high = np.zeros((n, 1)), np.full((n, 1), np.inf)
    precision = np.ones((n, 1))
    finite = np.where(np.isfinite(squared), squared, 0)
    for _ in range(HALVINGS):
        weights = np.exp(-precision * squared)
        total = weights.sum(axis=1, keepdims=True)
        found = np.log(total) + precision * (weights * finite).sum(axis=1, keepdims=True) / total
        low, high = np.where(found > entropy, precision, low), np.where(found > entropy, high, precision)
        precision = np.where(np.isinf(high), precision * 2, (low + np.where(np.isinf(high), low, high)) / 2)
    conditional = weights / total
    return np.asarray((conditional + conditional.T) / (2 * n), dtype=np.float32)


def _gradient(position: FloatArray, target: FloatArray) -> npt.NDArray[np.float32]:
    """Of the divergence between the affinities and those of the plane, under a Student kernel."""
    kernel = 1 / (1 + _squared_distances(position))
    np.fill_diagonal(kernel, 0)
    pull = (target - kernel / kernel.sum()) * kernel
    return np.asarray(4 * (pull.sum(axis=1, keepdims=True) * position - pull @ position), dtype=np.float32)


def _squared_distances(points: FloatArray) -> npt.NDArray[np.floating]:
    norms = np.einsum("ij,ij->i", points, points)
    return np.asarray(np.maximum(norms[:, None] + norms[None, :] - 2 * points @ points.T, 0))
