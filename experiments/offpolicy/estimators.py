"""Estimators of a policy's value from the log of another: each returns the value and how far every row pulls it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from experiments.exceptions import InputError
from experiments.offpolicy.logged import Float64, LoggedActions

Estimated = tuple[float, Float64]
"""A value, and the influence ``[n]`` of each row on it: mean 0, see :func:`clusters.standard_error`."""


@dataclass(frozen=True)
class Estimator:
    """One way to estimate.

    Attributes:
        name: as in the literature.
        estimate: of a log.
        modelled: whether it needs the rewards a model predicts.
    """

    name: str
    estimate: Callable[[LoggedActions], Estimated]
    modelled: bool = False


def ips(clip: float | None = None) -> Estimator:
    """Inverse propensity scoring (Horvitz and Thompson 1952), weights cut off at ``clip``; unbiased without a cut."""
    return Estimator("IPS" if clip is None else f"IPS, weights <= {clip:g}", partial(_ips, clip=clip))


def snips() -> Estimator:
    """Self-normalised IPS (Swaminathan and Joachims 2015): a little bias, and never outside the rewards seen."""
    return Estimator("SNIPS", _snips)


def direct_method() -> Estimator:
    """What the reward model expects; as good as the model, and its interval knows nothing of the model's bias."""
    return Estimator("DM", lambda log: _mean(_model(log)[1]), modelled=True)


def doubly_robust() -> Estimator:
    """The model, and the weighted rest that it missed (1103.4601): unbiased if propensities or model are right."""
    return Estimator("DR", lambda log: _corrected(log, log.weights), modelled=True)


def self_normalised_doubly_robust() -> Estimator:
    """DR with weights that average 1 (Thomas and Brunskill, 1604.00923)."""
    return Estimator("SNDR", _sndr, modelled=True)


def switch(threshold: float) -> Estimator:
    """DR that leaves rows of a weight over ``threshold`` to the model (1612.01205)."""
    return Estimator(f"Switch-DR({threshold:g})", partial(_switch, threshold=threshold), modelled=True)


def optimistic_shrinkage(strength: float) -> Estimator:
    """DR with shrunken weights ``strength * w / (w^2 + strength)`` (1907.09623): DM at 0, DR at infinity."""
    return Estimator(f"DRos({strength:g})", partial(_shrunk, strength=strength), modelled=True)


def _ips(log: LoggedActions, clip: float | None) -> Estimated:
    weights = log.weights if clip is None else np.minimum(log.weights, clip)
    return _mean(weights * log.rewards)


def _snips(log: LoggedActions) -> Estimated:
    weights = log.weights
    total = weights.sum()
    if total == 0:
        raise InputError("The evaluated policy does nothing that was logged.", "SNIPS has nothing to average.")
    value = float((weights * log.rewards).sum() / total)
    return value, weights * (log.rewards - value) / (total / len(log))


def _sndr(log: LoggedActions) -> Estimated:
    predicted, expected = _model(log)
    weights = log.weights / log.weights.mean()
    rest = float((weights * (log.rewards - predicted)).mean())
    influence = expected - expected.mean() + weights * (log.rewards - predicted - rest)
    return float(expected.mean()) + rest, influence


def _switch(log: LoggedActions, threshold: float) -> Estimated:
    return _corrected(log, np.where(log.weights <= threshold, log.weights, 0))


def _shrunk(log: LoggedActions, strength: float) -> Estimated:
    weights = log.weights
    return _corrected(log, strength * weights / (weights**2 + strength) if strength > 0 else 0 * weights)


def _corrected(log: LoggedActions, weights: Float64) -> Estimated:
    predicted, expected = _model(log)
    return _mean(expected + weights * (log.rewards - predicted))


def _mean(values: Float64) -> Estimated:
    mean = float(values.mean())
    return mean, values - mean


def _model(log: LoggedActions) -> tuple[Float64, Float64]:
    if log.predicted is None or log.expected is None:
        raise InputError("This estimator needs the rewards that a model predicts.", "See `predict_rewards`.")
    return log.predicted, log.expected
