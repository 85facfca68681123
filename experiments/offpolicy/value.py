"""PolicyValue: what a policy would have earned, with interval and warnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from experiments.clusters import standard_error
from experiments.offpolicy.estimators import (
    Estimated,
    Estimator,
    direct_method,
    doubly_robust,
    ips,
    optimistic_shrinkage,
    self_normalised_doubly_robust,
    snips,
    switch,
)
from experiments.offpolicy.logged import LoggedActions
from experiments.offpolicy.overlap import Overlap


@dataclass(frozen=True)
class PolicyValue:
    """An estimate of a policy's mean reward.

    Attributes:
        estimator: its name.
        value: mean reward per decision (or slate).
        error: standard error, rows of one unit taken together.
        low, high: interval at the confidence asked for.
        n: rows of the log.
        effective: rows of the policy's own log that would say as much.
        warnings: what a reader must know.
    """

    estimator: str
    value: float
    error: float
    low: float
    high: float
    n: int
    effective: float
    warnings: tuple[str, ...]

    @classmethod
    def of(
        cls,
        name: str,
        estimated: Estimated,
        units: npt.NDArray[np.generic] | None,
        confidence: float,
        effective: float,
        warnings: tuple[str, ...] = (),
    ) -> PolicyValue:
        """With the interval of Student's t over the units."""
        value, influence = estimated
        error, degrees = standard_error(influence, units)
        half = float(stats.t.ppf((1 + confidence) / 2, degrees)) * error
        return cls(name, value, error, value - half, value + half, len(influence), effective, warnings)


def default_estimators(modelled: bool) -> list[Estimator]:
    """What to look at side by side: where they disagree, the log or the model is not to be trusted."""
    free = [ips(), ips(clip=10), snips()]
    if not modelled:
        return free
    return [
        *free,
        direct_method(),
        doubly_robust(),
        self_normalised_doubly_robust(),
        switch(10),
        optimistic_shrinkage(10),
    ]


def policy_values(
    log: LoggedActions, estimators: Sequence[Estimator] | None = None, confidence: float = 0.95
) -> list[PolicyValue]:
    """What the evaluated policy would have earned per decision, by several estimators.

    Args:
        log: decisions of the logging policy, with both policies' propensities.
        estimators: default: :func:`default_estimators`.
        confidence: of the intervals.

    Raises:
        OverlapError: the log does not hold what the evaluated policy would do.
        InputError: an estimator needs a reward model and the log brings none.
    """
    chosen = default_estimators(log.predicted is not None) if estimators is None else estimators
    overlap = Overlap.of(log)
    warnings = overlap.check()
    return [
        PolicyValue.of(each.name, each.estimate(log), log.units, confidence, overlap.effective, warnings)
        for each in chosen
    ]


def on_policy_value(
    rewards: npt.NDArray[np.float64], units: npt.NDArray[np.generic] | None = None, confidence: float = 0.95
) -> PolicyValue:
    """What a policy earned on its own log: the truth to compare with, where there is one."""
    mean = float(rewards.mean())
    return PolicyValue.of("on policy", (mean, rewards - mean), units, confidence, float(len(rewards)))
