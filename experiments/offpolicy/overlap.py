"""Overlap: whether the log holds enough of what the evaluated policy would do to say anything about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from experiments.clusters import standard_error
from experiments.exceptions import InputError
from experiments.offpolicy.logged import Float64, LoggedActions

UNSUPPORTED = 0.01
"""Share of the evaluated policy's probability that may lie where the logging policy never goes."""
MISSING = 0.001
"""Below this p-value of "weights average 1" the propensities are wrong, or the policies do not overlap."""
THIN = 100
"""Effective rows below which a warning is due."""
CARRIED = 0.5
"""Share of the weight that the heaviest hundredth of the rows may carry before a warning is due."""


class OverlapError(InputError):
    """The log does not hold what the evaluated policy would do."""


@dataclass(frozen=True)
class Overlap:
    """How two policies overlap on a log.

    Attributes:
        n: rows.
        effective: rows of the evaluated policy's own log that would say as much, (sum w)^2 / sum w^2 (Kish).
        mean_weight: 1 if the propensities are true and the support is there.
        mean_weight_p: p-value of that.
        max_weight: of the heaviest row.
        carried: share of the weight that the heaviest hundredth of the rows carries.
        unsupported: mean probability of the evaluated policy on actions never logged; NaN where unknown.
    """

    n: int
    effective: float
    mean_weight: float
    mean_weight_p: float
    max_weight: float
    carried: float
    unsupported: float

    @classmethod
    def of(cls, log: LoggedActions) -> Overlap:
        """Of a log, as it is."""
        unsupported = float("nan") if log.unsupported is None else float(log.unsupported.mean())
        return cls.of_weights(log.weights, log.units, unsupported)

    @classmethod
    def of_weights(
        cls, weights: Float64, units: np.typing.NDArray[np.generic] | None, unsupported: float = float("nan")
    ) -> Overlap:
        """Of importance weights ``[n]``, of actions or of slates."""
        mean, total = float(weights.mean()), float(weights.sum())
        error, degrees = standard_error(weights - mean, units)
        p = float(2 * stats.t.sf(abs(mean - 1) / error, degrees)) if error > 0 else float(np.isclose(mean, 1))
        heaviest = np.sort(weights)[-max(1, len(weights) // 100) :]
        return cls(
            len(weights),
            total**2 / float((weights**2).sum()) if total > 0 else 0.0,
            mean,
            p,
            float(weights.max()),
            float(heaviest.sum()) / total if total > 0 else float("nan"),
            unsupported,
        )

    def check(self) -> tuple[str, ...]:
        """What a reader must know.

        Returns:
            Warnings.

        Raises:
            OverlapError: no weighting of this log says what the policy would earn.
        """
        if self.unsupported > UNSUPPORTED:
            raise OverlapError(
                f"{self.unsupported:.1%} of what the evaluated policy does was never done by the logging policy.",
                "Log with exploration over these actions, or evaluate a policy that stays with what was logged.",
            )
        if self.mean_weight_p < MISSING:
            raise OverlapError(
                f"The weights average {self.mean_weight:.3f} where they must average 1 (p = {self.mean_weight_p:.1g}).",
                "Either the propensities are not those the log was made with, or the log lacks what the policy does.",
            )
        warnings = []
        if self.effective < THIN:
            warnings.append(f"{self.n:,} rows weigh as much as {self.effective:,.0f}: the interval itself is uncertain")
        if self.n >= THIN and self.carried > CARRIED:
            warnings.append(f"a hundredth of the rows carries {self.carried:.0%} of the weight")
        return tuple(warnings)
