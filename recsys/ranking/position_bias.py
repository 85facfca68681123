"""How well scores explain clicks once the position is accounted for: the validation measure of unbiased ranking.

NDCG on logged clicks rewards a ranker that repeats the logged order, so it cannot tell when an unbiased one is good.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from recsys.ranking.training_set import TrainingSet

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

RIDGE = 1e-3
"""Keeps the effect of a position without any click finite."""


class PositionAdjustedLikelihood:
    """Mean log-likelihood of engagements under a conditional logit of the score and the position.

    Within a request, item i is engaged with in proportion to exp(a * score_i + b[position_i]); engagements weigh by
    grade. a and b are fitted to the same data (convex, few parameters), starting where the last call ended.

    Args:
        logged: examples with positions.
    """

    def __init__(self, logged: TrainingSet) -> None:
        assert logged.positions is not None
        _, place = np.unique(logged.positions, return_inverse=True)
        self._at_position = np.eye(place.max() + 1)[place][:, 1:]  # the first position is the reference
        self._starts = np.concatenate([[0], np.cumsum(logged.groups)[:-1]]).astype(np.int64)
        self._group = np.repeat(np.arange(len(logged.groups)), logged.groups)
        self._weights = logged.labels.astype(np.float64)
        self._per_group = np.add.reduceat(self._weights, self._starts)
        self._parameters = np.zeros(1 + self._at_position.shape[1])

    def __call__(self, scores: Vector) -> float:
        """The likelihood with the best a and b, in nats per unit of grade; 0 would be certainty."""
        centred = scores - scores.mean()
        design = np.column_stack([centred / max(float(centred.std()), 1e-12), self._at_position])
        fitted = minimize(self._loss, self._parameters, (design,), method="trust-exact", jac=True, hess=self._curvature)
        self._parameters = fitted.x
        return float(self._weights @ self._log_shares(fitted.x, design) / self._weights.sum())

    def _loss(self, parameters: Vector, design: Matrix) -> tuple[float, Vector]:
        """Negative log-likelihood with the ridge, per unit of grade, and its gradient."""
        logs = self._log_shares(parameters, design)
        expected = self._per_group[self._group] * np.exp(logs)
        loss = -self._weights @ logs + RIDGE / 2 * parameters @ parameters
        gradient = (expected - self._weights) @ design + RIDGE * parameters
        return float(loss / self._weights.sum()), gradient / self._weights.sum()

    def _curvature(self, parameters: Vector, design: Matrix) -> Matrix:
        share = np.exp(self._log_shares(parameters, design))
        mean = np.add.reduceat(share[:, None] * design, self._starts)
        spread = ((self._per_group[self._group] * share)[:, None] * design).T @ design
        hessian = spread - (self._per_group[:, None] * mean).T @ mean + RIDGE * np.eye(len(parameters))
        return np.asarray(hessian / self._weights.sum())

    def _log_shares(self, parameters: Vector, design: Matrix) -> Vector:
        logits = design @ parameters
        logits = logits - np.maximum.reduceat(logits, self._starts)[self._group]
        return np.asarray(logits - np.log(np.add.reduceat(np.exp(logits), self._starts))[self._group])
