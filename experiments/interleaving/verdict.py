"""Verdict: which of two rankings readers preferred, judged by reader and not by click."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from experiments.clusters import standard_error
from experiments.exceptions import InputError


@dataclass(frozen=True)
class Verdict:
    """Who was preferred.

    Attributes:
        value: mean preference per list: over 0 for B, below for A, in the credits of the method.
        low, high: interval at the confidence asked for.
        p_value: of no preference, two-sided (Student's t over units).
        wins_a, wins_b, ties: units by the sign of their sum.
        n: lists.
    """

    value: float
    low: float
    high: float
    p_value: float
    wins_a: int
    wins_b: int
    ties: int
    n: int

    @property
    def share_b(self) -> float:
        """Share of units that preferred B, ties counted half (Chapelle et al. 2012); .5: no preference."""
        return (self.wins_b + self.ties / 2) / (self.wins_a + self.wins_b + self.ties)


def verdict(
    preferences: Sequence[float] | npt.NDArray[np.float64],
    units: npt.NDArray[np.generic] | None = None,
    confidence: float = 0.95,
) -> Verdict:
    """Of what every shown list said.

    Args:
        preferences: see :meth:`Interleaved.preference`, ``[n]``, one for every list shown, clicked in or not.
        units: who saw each, ``[n]``; ``None``: everybody saw one.
        confidence: of the interval.

    Raises:
        InputError: fewer than two units, or another number of them than of preferences.
    """
    values = np.asarray(preferences, np.float64)
    if units is not None and len(units) != len(values):
        raise InputError(f"{len(units)} units for {len(values)} preferences.", "Give one for each.")
    keys = np.arange(len(values)) if units is None else np.unique(units, return_inverse=True)[1]
    sums = np.bincount(keys, weights=values)
    if len(sums) < 2:
        raise InputError(f"{len(sums)} units cannot be tested.", "Show interleaved lists to more of them.")
    mean = float(values.mean())
    error, degrees = standard_error(values - mean, keys)
    half = float(stats.t.ppf((1 + confidence) / 2, degrees)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, degrees)) if error > 0 else float(mean == 0)
    wins_a, wins_b = int((sums < 0).sum()), int((sums > 0).sum())
    ties = len(sums) - wins_a - wins_b
    return Verdict(mean, mean - half, mean + half, p, wins_a, wins_b, ties, len(values))
