"""What a batch looks like, field by field: counts, moments, quantiles and a histogram; and how far two are apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_store.definitions import Definition, Field

BINS = 20
DECILES = np.linspace(0, 1, 11)
EMPTY_SHARE = 1e-4  # in place of a share of zero, whose logarithm does not exist
SAMPLE = 100_000  # rows that quantiles and histograms are made of


class Statistics(Definition):
    """Of one field in one batch. For vectors ``low`` and ``high`` are of their numbers, the rest of their lengths.

    Attributes:
        rows: all.
        nulls: without a value.
        distinct: different values; ``None`` for vectors.
        low: smallest value.
        high: largest value.
        mean: of the values.
        deviation: standard deviation of the values.
        deciles: smallest, the nine deciles, largest.
        shares: of the values between one decile and the next, ``[10]``: not 0.1 each where values repeat.
        edges: of the histogram's bins, ``[21]``.
        histogram: number of values in each bin, ``[20]``; of a sample.
    """

    rows: int
    nulls: int
    distinct: int | None = None
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    deviation: float | None = None
    deciles: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    edges: tuple[float, ...] = ()
    histogram: tuple[int, ...] = ()


def statistics_of(field: Field, values: pl.Series) -> Statistics:
    """Look at a column of a batch; nulls are missing, and there are no NaNs."""
    there = values.drop_nulls()
    counts = {"rows": len(values), "nulls": values.null_count()}
    if there.is_empty():
        return Statistics(**counts)
    numbers = there.to_numpy()
    extent = {"low": float(numbers.min()), "high": float(numbers.max())}
    lengths = np.linalg.norm(numbers.astype(np.float32), axis=1) if field.shape else numbers.astype(np.float64)
    sample = lengths[:: max(1, len(lengths) // SAMPLE)]
    deciles = np.quantile(sample, DECILES)
    heights, edges = np.histogram(sample, bins=BINS)
    return Statistics(
        **counts,
        **extent,
        distinct=None if field.shape else there.n_unique(),
        mean=float(lengths.mean()),
        deviation=float(lengths.std()),
        deciles=tuple(deciles.tolist()),
        shares=tuple(_shares(sample, deciles).tolist()),
        edges=tuple(edges.tolist()),
        histogram=tuple(heights.tolist()),
    )


def drift(field: Field, values: pl.Series, before: Statistics) -> float:
    """Population stability index of a batch against the one before: ``sum (p - q) ln(p / q)`` over its deciles."""
    there = values.drop_nulls()
    if there.is_empty() or not before.deciles:
        return 0.0
    numbers = there.to_numpy()
    lengths = np.linalg.norm(numbers.astype(np.float32), axis=1) if field.shape else numbers.astype(np.float64)
    p = np.maximum(_shares(lengths, np.array(before.deciles)), EMPTY_SHARE)
    q = np.maximum(np.array(before.shares), EMPTY_SHARE)
    return float(np.sum((p - q) * np.log(p / q)))


def _shares(values: npt.NDArray[np.float64], deciles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Share of values between one decile and the next; what lies outside counts to the outermost."""
    places = np.searchsorted(deciles[1:-1], values, side="right")
    return np.bincount(places, minlength=len(deciles) - 1) / len(values)
