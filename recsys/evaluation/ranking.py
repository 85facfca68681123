"""Ranking evaluation: the same slates in several orders, compared by graded NDCG, MAP and MRR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recsys.config import BaseConfig
from recsys.evaluation.intervals import Clusters, Estimate, mean_intervals, relative_lift
from recsys.evaluation.judgements import judge_slates
from recsys.evaluation.metrics import measure
from recsys.exceptions import ConfigError
from recsys.types import FloatArray

RANKING_METRICS = ("ndcg@10", "map@10", "mrr@10")


class RankingResult(BaseConfig):
    """One ordering of the slates.

    Attributes:
        system: what ordered them.
        n: slates with at least one relevant item; the means are over these.
        excluded: slates with none, which every order serves alike.
        metrics: estimate by metric name; empty where ``n`` is 0.
        lift: relative to the baseline, paired by slate; a metric is missing where the baseline is 0.
    """

    system: str
    n: int
    excluded: int
    metrics: dict[str, Estimate]
    lift: dict[str, Estimate]


def evaluate_ranking(
    labels: FloatArray,
    systems: Mapping[str, FloatArray],
    baseline: str,
    *,
    metrics: Sequence[str] = RANKING_METRICS,
    clusters: Clusters | None = None,
    seed: int = 0,
) -> tuple[RankingResult, ...]:
    """Measure every ordering, and its relative lift over the baseline.

    Args:
        labels: graded labels of the slates ``[n, m]``, :data:`~recsys.evaluation.judgements.NO_LABEL` where shorter.
        systems: scores ``[n, m]`` by name; minus the logged position is a system like any other.
        baseline: name of the system that the lifts refer to.
        metrics: names for :func:`recsys.evaluation.metrics.measure`.
        clusters: user of each slate, int ``[n]``; intervals resample users.
        seed: of the intervals.

    Raises:
        ConfigError: the baseline is not among the systems.
    """
    if baseline not in systems:
        raise ConfigError(f"The baseline {baseline!r} is not among the systems {', '.join(systems)}.")
    lists = {name: judge_slates(labels, scores) for name, scores in systems.items()}
    values = {name: measure(judged, metrics) for name, judged in lists.items()}
    means = mean_intervals(
        {(name, metric): column for name, columns in values.items() for metric, column in columns.items()},
        seed,
        clusters,
    )
    results = []
    for name, judged in lists.items():
        n = int((judged.relevant > 0).sum())
        lifts = {
            metric: relative_lift(values[name][metric], values[baseline][metric], seed, clusters)
            for metric in metrics
            if name != baseline
        }
        results.append(
            RankingResult(
                system=name,
                n=n,
                excluded=len(labels) - n,
                metrics={metric: means[name, metric] for metric in metrics if (name, metric) in means},
                lift={metric: estimate for metric, estimate in lifts.items() if estimate is not None},
            )
        )
    return tuple(results)
