"""Tuning: the cheapest search effort that reaches a recall target, with the curve it was chosen from."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import numpy as np

from recsys.config import BaseConfig
from recsys.index.ann import FaissIndex
from recsys.index.exact import ExactIndex
from recsys.index.kinds import Effort
from recsys.index.recall import recall, true_scores, without_self
from recsys.types import FloatArray, RowArray

REFINES = (2.0, 4.0, 8.0, 16.0)
TIMED = 100  # queries, one at a time
PLATEAU = 0.002  # a recall that twice the breadth raises by less


class TuningPoint(BaseConfig):
    """One measured effort."""

    breadth: int  # nprobe or efSearch
    refine: float  # times k answers ordered again
    recall: float
    milliseconds: float  # median of one query


class Tuning(BaseConfig):
    """What was measured, and what was chosen."""

    parameter: str  # that breadth stands for, in FAISS's words
    k: int
    target: float
    points: tuple[TuningPoint, ...]
    chosen: TuningPoint

    @property
    def met(self) -> bool:
        return self.chosen.recall >= self.target

    def __str__(self) -> str:
        """Such as ``nprobe 12 reaches recall@100 0.953 (target 0.95) in 0.31 ms``."""
        verb = "reaches" if self.met else "is the best there is: it reaches only"
        refine = f" with {self.chosen.refine:g} k refined" if self.chosen.refine > 1 else ""
        return (
            f"{self.parameter} {self.chosen.breadth}{refine} {verb} recall@{self.k} {self.chosen.recall:.3f} "
            f"(target {self.target:g}) in {self.chosen.milliseconds:.2f} ms"
        )


def tune(index: FaissIndex, exact: ExactIndex, vectors: FloatArray, rows: RowArray, k: int, target: float) -> Tuning:
    """Measure efforts from the smallest up until one reaches the target, and choose the quickest that does.

    Args:
        index: to tune; not changed.
        exact: the truth.
        vectors: of the table of both.
        rows: whose vectors are the queries; each is left out of its own answers.
        k: number of neighbours.
        target: recall of them.
    """
    queries = np.ascontiguousarray(vectors[rows])
    truth = without_self(*exact.search(queries, k + 1), rows)
    points = []
    for refine in REFINES if index.refines else (1.0,):
        for breadth in breadths(index):
            effort = Effort(breadth, refine)
            points.append(_measured(index.with_effort(effort), effort, vectors, queries, rows, truth))
            ladder = [point for point in points if point.refine == refine]
            if points[-1].recall >= target or _flat(ladder):
                break
    good = [point for point in points if point.recall >= target]
    best = max(point.recall for point in points)
    chosen = min(good or [point for point in points if point.recall == best], key=lambda point: point.milliseconds)
    return Tuning(parameter=index.parameter, k=k, target=target, points=tuple(points), chosen=chosen)


def breadths(index: FaissIndex) -> Iterator[int]:
    """Breadths worth trying, about a third apart, up to all that the index has."""
    limit = index.terrain.limit
    step = 16 if index.terrain.graph else 1
    while step < limit:
        yield step
        if step > 1 and step * 3 // 2 < limit:
            yield step * 3 // 2
        step *= 2
    yield limit


def _flat(ladder: list[TuningPoint]) -> bool:
    """Whether twice the breadth has brought next to nothing, so that more would not either."""
    half = [point for point in ladder if 2 * point.breadth <= ladder[-1].breadth]
    return bool(half) and ladder[-1].breadth >= 8 and ladder[-1].recall < half[-1].recall + PLATEAU


def _measured(
    index: FaissIndex, effort: Effort, vectors: FloatArray, queries: FloatArray, rows: RowArray, truth: FloatArray
) -> TuningPoint:
    k = truth.shape[1]
    found, _ = index.search(queries, k + 1)
    score = recall(without_self(found, true_scores(vectors, queries, found), rows), truth)
    times = []
    for query in range(min(TIMED, len(queries))):
        started = time.perf_counter()
        index.search(queries[query : query + 1], k)
        times.append(time.perf_counter() - started)
    return TuningPoint(
        breadth=effort.breadth, refine=effort.refine, recall=score, milliseconds=1000 * statistics.median(times)
    )
