"""Retrieval evaluation: named candidate lists against what was really engaged with, over the whole catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from recsys.config import BaseConfig
from recsys.evaluation.beyond import coverage, intra_list_diversity
from recsys.evaluation.intervals import Clusters, Estimate, mean_intervals
from recsys.evaluation.judgements import Judgements, judge
from recsys.evaluation.metrics import cut_off, measure
from recsys.evaluation.slices import EVERYTHING, ItemSlice
from recsys.exceptions import DataError
from recsys.types import Candidates, FloatArray, RowArray

RETRIEVAL_METRICS = ("recall@10", "recall@50", "recall@200", "hr@10", "ndcg@10")
SHOWN = 10


class SourceResult(BaseConfig):
    """One candidate source on one slice.

    Attributes:
        source: name of the source.
        slice: name of the slice, ``all`` for the whole catalogue.
        n: requests with at least one relevant item in the slice; the means are over these.
        excluded: requests with none.
        metrics: estimate by metric name; empty where ``n`` is 0.
        coverage: share of the catalogue in the top 10 of any request (whole catalogue only).
        diversity: mean intra-list diversity of the top 10 (whole catalogue only, where item vectors were given).
    """

    source: str
    slice: str
    n: int
    excluded: int
    metrics: dict[str, Estimate]
    coverage: float | None = None
    diversity: float | None = None


def evaluate_retrieval(
    sources: Mapping[str, Candidates],
    judgements: Judgements,
    n_items: int,
    *,
    slices: Sequence[ItemSlice] = (),
    metrics: Sequence[str] = RETRIEVAL_METRICS,
    vectors: FloatArray | None = None,
    clusters: Clusters | None = None,
    seed: int = 0,
) -> tuple[SourceResult, ...]:
    """Measure every source on the whole catalogue and on each slice.

    On a slice only the relevant items inside it count; the candidates are still drawn from the whole catalogue.

    Args:
        sources: candidates by name, all for the same n requests.
        judgements: relevant items of the n requests.
        n_items: size of the catalogue.
        slices: parts of the catalogue.
        metrics: names for :func:`recsys.evaluation.metrics.measure`.
        vectors: unit item vectors ``[n_items, d]`` for the diversity of the lists.
        clusters: user of each request, int ``[n]``, where a user has several.
        seed: of the intervals.

    Returns:
        The whole catalogue for every source, then each slice for every source.

    Raises:
        DataError: a source has fewer candidates than the deepest metric asks for.
    """
    depth = max(cut_off(name) for name in metrics)
    for name, candidates in sources.items():
        if candidates.rows.shape[1] < min(depth, n_items):
            raise DataError(
                f"Source {name!r} has {candidates.rows.shape[1]} candidates, {depth} are measured.", "Retrieve more."
            )
    parts = [(EVERYTHING, judgements), *((part.name, judgements.within(part.items)) for part in slices)]
    results = []
    for slice_name, relevant in parts:
        values = {
            (name, metric): column
            for name, candidates in sources.items()
            for metric, column in measure(judge(candidates.rows, relevant, depth), metrics).items()
        }
        estimates = mean_intervals(values, seed, clusters)
        n = len(np.unique(relevant.requests[relevant.grades > 0]))
        for name in sources:
            figures = {metric: estimates[name, metric] for metric in metrics if (name, metric) in estimates}
            results.append(
                SourceResult(source=name, slice=slice_name, n=n, excluded=len(judgements) - n, metrics=figures)
            )
    return tuple(
        _beyond_accuracy(result, sources[result.source].rows[:, :SHOWN], n_items, vectors)
        if result.slice == EVERYTHING
        else result
        for result in results
    )


def _beyond_accuracy(result: SourceResult, top: RowArray, n_items: int, vectors: FloatArray | None) -> SourceResult:
    diversity = np.empty(0) if vectors is None else intra_list_diversity(top, vectors)
    diversity = diversity[~np.isnan(diversity)]
    return result.model_copy(
        update={
            "coverage": coverage(top, n_items),
            "diversity": float(diversity.mean()) if len(diversity) else None,
        }
    )
