"""Bootstrap intervals of means, of paired differences and of relative lifts, resampling whole clusters (users).

Requests of one user resemble each other, so resampling requests would promise more certainty than there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from recsys.config import BaseConfig
from recsys.exceptions import DataError

RESAMPLES = 1000
LEVEL = 0.95
DRAWS_PER_BLOCK = 2**22

Values = npt.NDArray[np.float64]
Clusters = npt.NDArray[np.integer]
Key = TypeVar("Key")


class Estimate(BaseConfig):
    """A figure with its 95% interval, and the number of requests behind it."""

    value: float
    low: float
    high: float
    n: int


def mean_intervals(values: Mapping[Key, Values], seed: int, clusters: Clusters | None = None) -> dict[Key, Estimate]:
    """Means of several per-request metrics over the same requests, all from the same resamples.

    Args:
        values: ``[n]`` by name; ``nan`` where undefined, which leaves the request out.
        seed: of the resampling.
        clusters: which requests belong together (user rows), int ``[n]``; default: each stands alone.

    Returns:
        Estimate by name; empty where no request is left: there is no mean of nothing.

    Raises:
        DataError: the values are not defined for the same requests.
    """
    columns, left = _complete(values, clusters)
    if not len(columns):
        return {}
    resampled = _resampled_means(columns, seed, left)
    means = columns.mean(axis=0)
    return {
        name: _estimate(float(means[place]), resampled[:, place], len(columns)) for place, name in enumerate(values)
    }


def mean_interval(values: Values, seed: int, clusters: Clusters | None = None) -> Estimate | None:
    """Mean of one per-request metric, ``None`` where it has no value; see :func:`mean_intervals`."""
    return mean_intervals({"": values}, seed, clusters).get("")


def paired_difference(values: Values, baseline: Values, seed: int, clusters: Clusters | None = None) -> Estimate | None:
    """Mean of ``values - baseline`` over the same requests; see :func:`mean_interval`."""
    return mean_interval(values - baseline, seed, clusters)


def relative_lift(values: Values, baseline: Values, seed: int, clusters: Clusters | None = None) -> Estimate | None:
    """``mean(values) / mean(baseline) - 1``, both means over the same resampled requests.

    Args:
        values: of the system, ``[n]``.
        baseline: of the other system, ``[n]``; ``nan`` in the same places.
        seed: of the resampling.
        clusters: see :func:`mean_intervals`.

    Returns:
        The lift, ``None`` where no request is left or the baseline is 0 in the sample or in a resample.

    Raises:
        DataError: the two are not defined for the same requests.
    """
    pair, left = _complete({"values": values, "baseline": baseline}, clusters)
    if not len(pair):
        return None
    means = _resampled_means(pair, seed, left)
    if not (means[:, 1] > 0).all() or pair[:, 1].mean() <= 0:
        return None
    lift = float(pair[:, 0].mean() / pair[:, 1].mean() - 1)
    return _estimate(lift, means[:, 0] / means[:, 1] - 1, len(pair))


def _complete(values: Mapping[Any, Values], clusters: Clusters | None) -> tuple[Values, Clusters | None]:
    """Columns ``[n, s]`` of the requests that have values, and their clusters."""
    columns = np.stack(list(values.values()), axis=1)
    missing = np.isnan(columns)
    if (missing != missing[:, :1]).any():
        raise DataError("The systems were not measured on the same requests.", "Judge all on the same lists.")
    defined = ~missing[:, 0]
    return columns[defined], None if clusters is None else clusters[defined]


def _resampled_means(values: Values, seed: int, clusters: Clusters | None) -> Values:
    """Means over resampled clusters, ``[RESAMPLES, s]`` for values ``[n, s]``."""
    label = np.arange(len(values)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    count = int(label.max()) + 1
    sums = np.stack([np.bincount(label, weights=column) for column in (*values.T, np.ones(len(values)))], axis=1)
    generator = np.random.default_rng(seed)
    totals = np.empty((RESAMPLES, sums.shape[1]))
    step = max(1, DRAWS_PER_BLOCK // count)
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        drawn = generator.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        totals[start : start + size] = times.astype(np.float64) @ sums
    return totals[:, :-1] / totals[:, -1:]


def _estimate(value: float, resampled: Values, n: int) -> Estimate:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value=value, low=float(low), high=float(high), n=n)
