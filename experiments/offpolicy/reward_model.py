"""Reward model: logistic regression of a 0/1 reward, each row predicted by a model that did not see it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from experiments.exceptions import InputError
from experiments.offpolicy.logged import Float64

STEPS = 25
"""Newton steps; a ridge keeps each of them short, and a handful is enough."""


def predict_rewards(
    describe: Callable[[npt.NDArray[np.integer], npt.NDArray[np.integer]], Float64],
    actions: npt.NDArray[np.integer],
    n_actions: int,
    rewards: Float64,
    units: npt.NDArray[np.generic] | None = None,
    folds: int = 3,
    ridge: float = 1.0,
    seed: int = 0,
) -> Float64:
    """Expected reward of every action in every logged situation, cross-fitted.

    Predictions for a row come from a model learned without its fold, and a unit is in one fold only: otherwise DR
    subtracts what the model learned by heart (Chernozhukov et al., 1608.00060).

    Args:
        describe: (rows, actions), both ``[m]``, -> features ``[m, d]`` of taking the action in the row's situation; a
            constant is added.
        actions: taken, ``[n]``.
        n_actions: how many there are.
        rewards: 0 or 1, ``[n]``.
        units: who each row belongs to, ``[n]``.
        folds: at least 2.
        ridge: penalty of the squared weights, not of the constant.
        seed: of the folds.

    Returns:
        Probabilities, float64 ``[n, n_actions]``.

    Raises:
        InputError: rewards other than 0 and 1.
    """
    if not np.isin(rewards, (0, 1)).all():
        raise InputError(
            f"A reward of {rewards[~np.isin(rewards, (0, 1))][0]:g} is neither 0 nor 1.", "Model it apart."
        )
    keys = np.arange(len(rewards)) if units is None else np.unique(units, return_inverse=True)[1]
    fold_of = np.random.default_rng(seed).integers(folds, size=int(keys.max()) + 1)[keys]
    rows = np.arange(len(rewards))
    predicted = np.empty((len(rewards), n_actions))
    for fold in range(folds):
        seen, unseen = rows[fold_of != fold], rows[fold_of == fold]
        weights = fit_logistic(_with_constant(describe(seen, actions[seen])), rewards[seen], ridge)
        for action in range(n_actions):
            features = _with_constant(describe(unseen, np.full(len(unseen), action)))
            predicted[unseen, action] = expit(features @ weights)
    return predicted


def fit_logistic(features: Float64, rewards: Float64, ridge: float) -> Float64:
    """Weights ``[d]`` of penalised maximum likelihood, by Newton's method.

    Args:
        features: ``[n, d]``, the last column constant.
        rewards: 0 or 1, ``[n]``.
        ridge: penalty of the squared weights but the last.
    """
    penalty = np.full(features.shape[1], ridge)
    penalty[-1] = 1e-9
    weights = np.zeros(features.shape[1])
    for _ in range(STEPS):
        mean = expit(features @ weights)
        gradient = features.T @ (rewards - mean) - penalty * weights
        curvature = (features.T * (mean * (1 - mean))) @ features + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        weights = weights + step * min(1.0, 4.0 / max(np.abs(step).max(), 1e-12))
        if np.abs(step).max() < 1e-10:
            break
    return weights


def _with_constant(features: Float64) -> Float64:
    return np.column_stack([features, np.ones(len(features))])
