"""LoggedSlates: pages that were shown, and what they earn under another policy, by what is assumed of the reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from experiments.exceptions import InputError
from experiments.offpolicy.estimators import Estimated
from experiments.offpolicy.logged import Float64
from experiments.offpolicy.overlap import Overlap
from experiments.offpolicy.value import PolicyValue

Assumption = Literal["whole slate", "position-based", "cascade", "pseudo-inverse"]
"""What the reward of a position depends on.

- whole slate: on everything that was shown. Never wrong, and rarely of use: weights are products over all positions.
- position-based: on the item there alone (item-position model, 1804.10488).
- cascade: on it and what stands above it (reward interaction IPS, 2007.12986).
- pseudo-inverse: the slate's reward is a sum of unknown parts of its positions (1605.04812); in this form for logging
  policies that fill each position independently of the others.
"""
ASSUMPTIONS: tuple[Assumption, ...] = ("whole slate", "position-based", "cascade", "pseudo-inverse")


@dataclass(frozen=True, eq=False)
class LoggedSlates:
    """n slates of K positions.

    Attributes:
        rewards: of each position, float64 ``[n, K]``.
        at_position: weight of each position's item: probability of the evaluated policy of putting it there, over that
            of the logging policy, ``[n, K]``.
        given_above: the same, with both given what stands above it, ``[n, K]``; their product is the whole slate's.
        units: who saw it, ``[n]``; ``None``: all slates are independent.

    Raises:
        InputError: shapes that differ, or weights that are negative or not finite.
    """

    rewards: Float64
    at_position: Float64
    given_above: Float64
    units: npt.NDArray[np.generic] | None = None

    def __post_init__(self) -> None:
        for name in ("rewards", "at_position", "given_above"):
            values = getattr(self, name)
            if values.shape != self.rewards.shape or values.ndim != 2 or len(values) == 0:
                raise InputError(f"{name} has the shape {list(values.shape)}.", "All are [slates, positions].")
            if not np.isfinite(values).all():
                raise InputError(f"{name} holds values that are not finite.", "Leave such slates out, or mend them.")
        if min(self.at_position.min(), self.given_above.min()) < 0:
            raise InputError("A weight is negative.", "It is a ratio of two probabilities.")

    def weights(self, assumption: Assumption) -> Float64:
        """Weight of each position's reward, ``[n, K]``; 1 on average at every position."""
        if assumption == "position-based":
            return self.at_position
        along = np.asarray(np.cumprod(self.given_above, axis=1), np.float64)
        if assumption == "cascade":
            return along
        whole = along[:, -1:] if assumption == "whole slate" else self._pseudo_inverse()
        return np.broadcast_to(whole, self.rewards.shape)

    def _pseudo_inverse(self) -> Float64:
        sums: Float64 = self.at_position.sum(axis=1, keepdims=True) - self.rewards.shape[1] + 1
        return sums


def slate_values(
    slates: LoggedSlates,
    assumptions: Sequence[Assumption] = ASSUMPTIONS,
    self_normalised: bool = False,
    confidence: float = 0.95,
) -> list[PolicyValue]:
    """Mean reward of a whole slate under the evaluated policy.

    Args:
        slates: the log.
        assumptions: one estimate each.
        self_normalised: divide by the mean weight of each position: a little bias for less variance.
        confidence: of the intervals.

    Raises:
        OverlapError: the weights of some position do not average 1.
    """
    values = []
    for assumption in assumptions:
        weights = slates.weights(assumption)
        overlaps = [Overlap.of_weights(column, slates.units) for column in weights.T]
        worst = min(overlaps, key=lambda each: each.effective)
        estimated = _estimate(weights, slates.rewards, self_normalised)
        name = f"{assumption}, self-normalised" if self_normalised else assumption
        values.append(PolicyValue.of(name, estimated, slates.units, confidence, worst.effective, worst.check()))
    return values


def _estimate(weights: Float64, rewards: Float64, self_normalised: bool) -> Estimated:
    if not self_normalised:
        sums = (weights * rewards).sum(axis=1)
        return float(sums.mean()), sums - sums.mean()
    shares = weights / weights.mean(axis=0)
    means = (shares * rewards).mean(axis=0)
    return float(means.sum()), (shares * (rewards - means)).sum(axis=1)
