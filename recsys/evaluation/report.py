"""EvaluationReport: everything one evaluation found, in one record: JSON, a terminal table and a web page show it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import Field

from recsys.config import BaseConfig
from recsys.evaluation.intervals import Estimate
from recsys.evaluation.ranking import RankingResult
from recsys.evaluation.retrieval import SourceResult
from recsys.evaluation.slices import EVERYTHING

FEWEST_REQUESTS = 30
"""A figure over fewer is no headline."""


class DatasetSummary(BaseConfig):
    """What was evaluated on; ``counts`` such as items, users, events, pictures, in the order they are shown."""

    name: str
    description: str
    counts: dict[str, int]


class RetrievalTable(BaseConfig):
    """Sources compared on one kind of request (users, text queries, pictures).

    Attributes:
        title: such as ``For users``.
        caption: what was asked and what counts as an answer.
        main_metric: the one that slices, headlines and oracle distances speak of.
        baseline: source that headlines compare with.
        oracle: source that knows the truth, where there is one.
        slices: description by slice name.
        results: by :func:`recsys.evaluation.retrieval.evaluate_retrieval`.
    """

    title: str
    caption: str
    main_metric: str = "recall@50"
    baseline: str
    oracle: str | None = None
    slices: dict[str, str] = Field(default_factory=dict)
    results: tuple[SourceResult, ...]

    def on(self, slice_name: str) -> tuple[SourceResult, ...]:
        """The results on one slice, in the order of the sources."""
        return tuple(result for result in self.results if result.slice == slice_name)

    def estimates(self, slice_name: str = EVERYTHING) -> dict[str, Estimate]:
        """Main metric by source; sources without a figure are missing."""
        return {
            result.source: result.metrics[self.main_metric]
            for result in self.on(slice_name)
            if self.main_metric in result.metrics
        }


class RankingTable(BaseConfig):
    """Orders of the same slates compared; see :class:`RetrievalTable` for the fields they share."""

    title: str
    caption: str
    main_metric: str = "ndcg@10"
    baseline: str
    oracle: str | None = None
    results: tuple[RankingResult, ...]

    def estimates(self) -> dict[str, Estimate]:
        """Main metric by system; systems without a figure are missing."""
        return {
            result.system: result.metrics[self.main_metric]
            for result in self.results
            if self.main_metric in result.metrics
        }


class Curve(BaseConfig):
    """Lines over a common axis, such as the losses of a training; ``series`` are (x, y) points by name."""

    title: str
    x_label: str
    y_label: str
    series: dict[str, tuple[tuple[float, float], ...]]


class EvaluationReport(BaseConfig):
    """One evaluation.

    Attributes:
        title: of the page.
        created_at: moment of the evaluation.
        dataset: what was evaluated on.
        protocol: how, in words: the split, what was hidden, who was asked.
        retrieval: tables of candidate sources.
        ranking: tables of orders.
        importance: gain by ranker feature.
        curves: of the training.
        lineage: artifact key by kind.
        timings: seconds by stage.
        notes: caveats, each a sentence.
    """

    title: str
    created_at: datetime
    dataset: DatasetSummary
    protocol: str
    retrieval: tuple[RetrievalTable, ...] = ()
    ranking: tuple[RankingTable, ...] = ()
    importance: dict[str, float] = Field(default_factory=dict)
    curves: tuple[Curve, ...] = ()
    lineage: dict[str, str] = Field(default_factory=dict)
    timings: dict[str, float] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The whole record, indented; ``EvaluationReport.model_validate_json`` reads it back."""
        return self.model_dump_json(indent=2)


class Headline(BaseConfig):
    """One figure in large print, what it is, and what it is to be compared with."""

    label: str
    value: str
    detail: str


def headlines(report: EvaluationReport) -> tuple[Headline, ...]:
    """The figures a reader should see first: the best source and the best order of every table."""
    found = []
    for retrieval in report.retrieval:
        for slice_name in (EVERYTHING, *retrieval.slices):
            if slice_name in (EVERYTHING, "cold"):
                where = "" if slice_name == EVERYTHING else f", {slice_name} items"
                found.append(_best(f"{retrieval.title}{where}", retrieval, retrieval.estimates(slice_name)))
    for ranking in report.ranking:
        lifts = {row.system: row.lift.get(ranking.main_metric) for row in ranking.results}
        known = {name: lift for name, lift in lifts.items() if lift is not None and name != ranking.oracle}
        if known:
            best = max(known, key=lambda name: known[name].value)
            lift = known[best]
            detail = f"{best} over {ranking.baseline}, 95% interval {lift.low:+.1%} to {lift.high:+.1%}"
            found.append(
                Headline(
                    label=f"{ranking.title}: {metric_label(ranking.main_metric)}",
                    value=f"{lift.value:+.1%}",
                    detail=detail,
                )
            )
    return tuple(headline for headline in found if headline is not None)


def share_of_oracle(estimates: Mapping[str, Estimate], oracle: str | None) -> dict[str, float]:
    """How much of the oracle's figure each source or system reaches; empty where there is no oracle, or it is at 0."""
    if oracle is None or oracle not in estimates or estimates[oracle].value == 0:
        return {}
    return {name: estimate.value / estimates[oracle].value for name, estimate in estimates.items()}


def metric_label(name: str) -> str:
    """``ndcg@10`` as the field writes it: ``NDCG@10``."""
    metric, _, k = name.partition("@")
    return f"{metric.capitalize() if metric == 'recall' else metric.upper()}@{k}"


def _best(title: str, table: RetrievalTable, estimates: dict[str, Estimate]) -> Headline | None:
    rivals = {name: estimate for name, estimate in estimates.items() if name != table.oracle}
    if not rivals:
        return None
    best = max(rivals, key=lambda name: rivals[name].value)
    if rivals[best].n < FEWEST_REQUESTS:
        return None
    detail = [best]
    baseline = rivals.get(table.baseline)
    if baseline is not None and best != table.baseline:
        detail.append(
            f"{rivals[best].value / baseline.value:.1f} times {table.baseline}"
            if baseline.value
            else f"{table.baseline} finds none"
        )
    share = share_of_oracle(estimates, table.oracle).get(best)
    if share is not None:
        detail.append(f"{share:.0%} of the {table.oracle}")
    return Headline(
        label=f"{title}: {metric_label(table.main_metric)}",
        value=f"{rivals[best].value:.3f}",
        detail=", ".join(detail),
    )
