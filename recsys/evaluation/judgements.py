"""Judgements: which items are relevant to each request, how much so, and how a list of items fares against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.exceptions import DataError
from recsys.types import NO_ROW, FloatArray, Histories, RowArray

NO_LABEL = -1
"""Padding in label matrices: this slate is shorter."""


@dataclass(frozen=True, eq=False)
class Judgements:
    """Relevant items of n requests (compressed rows).

    Attributes:
        offsets: int64 ``[n + 1]``; request i owns ``offsets[i]:offsets[i + 1]`` of the other arrays.
        items: item rows, int32 ``[total]``.
        grades: float32 ``[total]``; 0 is irrelevant, more is better.

    Raises:
        DataError: an item is judged twice for one request, or a grade is negative or not finite.
    """

    offsets: npt.NDArray[np.int64]
    items: RowArray
    grades: FloatArray

    def __post_init__(self) -> None:
        order = np.lexsort((self.items, self.requests))
        twice = (np.diff(self.items[order]) == 0) & (np.diff(self.requests[order]) == 0)
        if twice.any():
            entry = order[np.flatnonzero(twice)[0]]
            raise DataError(f"Request {self.requests[entry]} judges item row {self.items[entry]} twice.")
        if not (np.isfinite(self.grades).all() and (self.grades >= 0).all()):
            raise DataError("A grade is negative or not finite.", "Grades run from 0, irrelevant, upwards.")

    @classmethod
    def of(cls, items: Sequence[Sequence[int]], grades: Sequence[Sequence[float]] | None = None) -> Judgements:
        """From one sequence of item rows per request; every grade is 1 where none are given."""
        lists = [np.asarray(rows, dtype=np.int32) for rows in items]
        offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in lists])]).astype(np.int64)
        flat = np.concatenate([*lists, np.empty(0, np.int32)])
        if grades is None:
            return cls(offsets, flat, np.ones(len(flat), np.float32))
        return cls(offsets, flat, np.concatenate([*map(np.asarray, grades), np.empty(0)]).astype(np.float32))

    @classmethod
    def of_histories(cls, held_out: Histories) -> Judgements:
        """What each user engaged with in the held-out part, graded by the weight of the action."""
        return cls(held_out.offsets, held_out.items, held_out.weights)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def requests(self) -> npt.NDArray[np.int64]:
        """Request of each entry, int64 ``[total]``."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def binary(self) -> Judgements:
        """The same with every positive grade set to 1."""
        return Judgements(self.offsets, self.items, (self.grades > 0).astype(np.float32))

    def between(self, start: int, stop: int) -> Judgements:
        """The requests ``start:stop``."""
        first, last = self.offsets[start], self.offsets[stop]
        return Judgements(self.offsets[start : stop + 1] - first, self.items[first:last], self.grades[first:last])

    def within(self, items: npt.NDArray[np.bool_]) -> Judgements:
        """The judgements of a part of the catalogue only.

        Args:
            items: whether the item row belongs to the part, bool ``[n_items]``.
        """
        keep = items[self.items]
        counts = np.bincount(self.requests[keep], minlength=len(self))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Judgements(offsets, self.items[keep], self.grades[keep])


@dataclass(frozen=True, eq=False)
class JudgedLists:
    """The grades of n ranked lists, ready for any metric.

    Attributes:
        grades: grade of the item at each position, float32 ``[n, depth]``; 0 where irrelevant or padded.
        ideal: the best grades there are for the request, descending, float32 ``[n, depth]``; 0 where there are no more.
        relevant: number of relevant items there are, listed or not, int64 ``[n]``.
    """

    grades: FloatArray
    ideal: FloatArray
    relevant: npt.NDArray[np.int64]


def judge(rows: RowArray, judgements: Judgements, depth: int) -> JudgedLists:
    """Grade lists of items. Relevant items that a list misses count in ``ideal`` and ``relevant``.

    Args:
        rows: item rows best first, int32 ``[n, k]``, padded with ``NO_ROW``.
        judgements: of the n requests.
        depth: deepest cut-off that will be measured; shorter lists are padded, longer ones cut.

    Raises:
        DataError: another number of requests, or a list that names an item twice.
    """
    if len(rows) != len(judgements):
        raise DataError(f"{len(rows)} lists for {len(judgements)} judged requests.", "Give one list per request.")
    rows = np.pad(rows[:, :depth], ((0, 0), (0, max(0, depth - rows.shape[1]))), constant_values=NO_ROW)
    ordered = np.sort(rows, axis=1)
    twice = (np.diff(ordered, axis=1) == 0) & (ordered[:, 1:] != NO_ROW)
    if twice.any():
        request, place = np.argwhere(twice)[0]
        raise DataError(f"The list of request {request} names item row {ordered[request, place]} twice.")
    n = len(rows)
    requests = judgements.requests
    stride = 1 + max(int(judgements.items.max(initial=0)), int(rows.max(initial=0)))
    keys = requests * stride + judgements.items
    order = np.argsort(keys)
    wanted = np.arange(n)[:, None] * stride + rows
    place = np.searchsorted(keys[order], wanted).clip(max=max(len(keys) - 1, 0))
    grades = np.zeros((n, depth), np.float32)
    if len(keys):
        found = (keys[order][place] == wanted) & (rows != NO_ROW)
        grades = np.where(found, judgements.grades[order][place], 0).astype(np.float32)
    best_first = np.lexsort((-judgements.grades, requests))
    rank = np.arange(len(requests)) - judgements.offsets[requests]
    inside = rank < depth
    ideal = np.zeros((n, depth), np.float32)
    ideal[requests[inside], rank[inside]] = judgements.grades[best_first][inside]
    relevant = np.bincount(requests[judgements.grades > 0], minlength=n)
    return JudgedLists(grades, ideal, relevant)


def judge_slates(labels: FloatArray, scores: FloatArray) -> JudgedLists:
    """Grade slates re-ordered by score. Equal scores keep the order of the slate.

    Args:
        labels: graded labels ``[n, m]``, ``NO_LABEL`` where the slate is shorter.
        scores: of one system, ``[n, m]``; higher is better.

    Raises:
        DataError: the shapes differ, or a score of a real entry is not a number.
    """
    if labels.shape != scores.shape:
        raise DataError(f"Scores of shape {scores.shape} for labels of shape {labels.shape}.")
    present = labels != NO_LABEL
    if np.isnan(scores[present]).any():
        raise DataError("A score is not a number.", "Give every candidate of the slate a score.")
    order = np.argsort(-np.where(present, scores, -np.inf), axis=1, kind="stable")
    order = np.take_along_axis(order, np.argsort(~np.take_along_axis(present, order, axis=1), kind="stable"), axis=1)
    grades = np.where(present, labels, 0).astype(np.float32)
    return JudgedLists(
        np.take_along_axis(grades, order, axis=1), -np.sort(-grades, axis=1), (grades > 0).sum(axis=1, dtype=np.int64)
    )
