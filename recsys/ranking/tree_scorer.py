"""TreeScorer: a trained LightGBM ensemble laid out so that one machine instruction tests a split for many rows.

QuickScorer (Lucchese et al. 2015, SIGIR) in its vectorised form: a tree is not walked. Every leaf is a bit, all are
alive at first, and each split that sends a row to the right takes the leaves on its left away; the first leaf that
remains is the row's. The splits of a tree may be tested in any order, so a split is tested for all rows at once. The
splits are those of the model and the leaves are added in its order, so the sums are those of ``Booster.predict``, to
the last bit. Nothing is compiled for a model: the loop is, once (home of numba).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import lightgbm
import numba
import numpy as np
import numpy.typing as npt

from recsys.types import FloatArray

ROWS_PER_BLOCK = 512
WORD = 32
"""Leaves are bits of words of this width."""
ALL = np.uint32(0xFFFFFFFF)
DE_BRUIJN = np.uint32(0x077CB531)
"""Times a power of two, the five highest bits are different for each."""
PLACES = ((np.uint64(DE_BRUIJN) << np.arange(WORD, dtype=np.uint64)) & np.uint64(ALL)) >> np.uint64(27)
ZERO = 1e-35
"""LightGBM takes what is nearer to 0 for 0."""

# What LightGBM writes as the type of a decision.
CATEGORICAL, DEFAULT_LEFT = 1, 2
MISSING_NONE, MISSING_ZERO, MISSING_NAN = 0, 1, 2

AS_IT_IS, NAN_IS_ZERO, NAN_LEFT, ZERO_LEFT, ZERO_RIGHT = range(5)
"""How a feature is read by a split; NaN is not below any threshold, so it goes to the right as it is."""

Loop = Callable[..., None]


@dataclass(frozen=True, eq=False)
class TreeScorer:
    """Splits and leaves of all trees, one after another.

    Attributes:
        columns: feature and how it is read, int32 ``[columns, 2]``: what the splits test.
        splits: column, word, first word in ``categories`` and number of words there (0: a threshold), int32
            ``[splits, 4]``; a split is there once for each word that it takes leaves of.
        thresholds: float32 ``[splits]``; goes left what is not above.
        kept: leaves that a row keeps when it goes right, uint32 ``[splits]``.
        categories: bits of the categories that go left.
        ends: behind the last split of each tree, int64 ``[trees]``.
        leaves: float64 ``[trees, words, 32]``, within a word at :data:`PLACES`.
    """

    columns: npt.NDArray[np.int32]
    splits: npt.NDArray[np.int32]
    thresholds: FloatArray
    kept: npt.NDArray[np.uint32]
    categories: npt.NDArray[np.uint32]
    ends: npt.NDArray[np.int64]
    leaves: npt.NDArray[np.float64]

    @classmethod
    def of(cls, booster: lightgbm.Booster) -> TreeScorer | None:
        """Lay out a model; ``None`` for one that is not a sum of ordinary trees: linear leaves, random forests."""
        text = booster.model_to_string()
        head, *blocks = text.partition("\nend of trees")[0].split("\nTree=")
        trees = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in blocks]
        lines = head.splitlines()
        if "average_output" in lines or "num_tree_per_iteration=1" not in lines:
            return None
        if not trees or any(tree.get("is_linear", "0") != "0" for tree in trees):
            return None
        layout = _Layout(words=-(-max(int(tree["num_leaves"]) for tree in trees) // WORD))
        for tree in trees:
            layout.add(tree)
        return cls(
            np.array(list(layout.columns), np.int32).reshape(-1, 2),
            np.array(layout.splits, np.int32).reshape(-1, 4),
            np.array(layout.thresholds, np.float32),
            np.array(layout.kept, np.uint32),
            np.array(layout.categories, np.uint32),
            np.array(layout.ends, np.int64),
            np.stack(layout.leaves),
        )

    def score(self, features: FloatArray) -> npt.NDArray[np.float64]:
        """Sums of the leaves, float64 ``[rows]``, of features float32 ``[rows, width]``."""
        scores = np.zeros(len(features))
        _add_trees(
            self._read(features),
            self.splits,
            self.thresholds,
            self.kept,
            self.categories,
            self.ends,
            self.leaves,
            scores,
        )
        return scores

    def _read(self, features: FloatArray) -> FloatArray:
        """The columns that splits test, float32 ``[columns, rows]``: missing values where they belong."""
        values = np.ascontiguousarray(features[:, self.columns[:, 0]].T, np.float32)
        for row, (_, reading) in zip(values, self.columns, strict=True):
            if reading == NAN_IS_ZERO:
                row[np.isnan(row)] = 0
            elif reading == NAN_LEFT:
                row[np.isnan(row)] = -np.inf
            elif reading in (ZERO_LEFT, ZERO_RIGHT):
                row[np.isnan(row) | (np.abs(row) <= ZERO)] = -np.inf if reading == ZERO_LEFT else np.inf
        return values


@dataclass
class _Layout:
    """Trees as they are read, in lists."""

    words: int
    columns: dict[tuple[int, int], int] = field(default_factory=dict)
    splits: list[tuple[int, int, int, int]] = field(default_factory=list)
    thresholds: list[np.float32] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    categories: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    leaves: list[npt.NDArray[np.float64]] = field(default_factory=list)

    def add(self, tree: Mapping[str, str]) -> None:
        """Append a tree of the model's text."""
        n_leaves = int(tree["num_leaves"])
        left, right, features, types = (
            [int(number) for number in tree.get(name, "").split()]
            for name in ("left_child", "right_child", "split_feature", "decision_type")
        )
        thresholds = [float(number) for number in tree.get("threshold", "").split()]
        bounds = [int(number) for number in tree.get("cat_boundaries", "").split()]
        bits = [int(number) for number in tree.get("cat_threshold", "").split()]
        order, gone = _leaves_from_left(left, right) if n_leaves > 1 else ([0], [])
        for node, (first, end) in enumerate(gone):
            offset = size = 0
            threshold = np.float32(0)
            if types[node] & CATEGORICAL:
                entry = int(thresholds[node])
                offset, size = len(self.categories) + bounds[entry], bounds[entry + 1] - bounds[entry]
            else:
                threshold = _not_above(thresholds[node])
            column = self.columns.setdefault((features[node], _reading(types[node])), len(self.columns))
            for word in range(first // WORD, (end - 1) // WORD + 1):
                low, high = max(first - word * WORD, 0), min(end - word * WORD, WORD)
                self.splits.append((column, word, offset, size))
                self.thresholds.append(threshold)
                self.kept.append(int(ALL) ^ ((1 << high) - (1 << low)))
        self.categories += bits
        self.ends.append(len(self.splits))
        values = np.zeros(self.words * WORD)
        values[: len(order)] = np.array(tree["leaf_value"].split(), np.float64)[order]
        placed = np.empty((self.words, WORD))
        placed[:, PLACES] = values.reshape(self.words, WORD)
        self.leaves.append(placed)


def _leaves_from_left(left: list[int], right: list[int]) -> tuple[list[int], list[tuple[int, int]]]:
    """The leaves of a tree from left to right, and of each split the range of those to its left there."""
    order: list[int] = []
    ranges = [(0, 0)] * len(left)
    for node, first in _visits(left, right, order):
        ranges[node] = (first, len(order))
    return order, ranges


def _visits(left: list[int], right: list[int], order: list[int]) -> Iterator[tuple[int, int]]:
    """Splits when all to their left is in ``order``, with how many leaves stood there before; a leaf is ``~leaf``."""
    waiting: list[tuple[int, int | None]] = [(0, None)]
    while waiting:
        node, first = waiting.pop()
        if node < 0:
            order.append(~node)
        elif first is None:
            waiting += [(node, len(order)), (left[node], None)]
        else:
            yield node, first
            waiting.append((right[node], None))


def _reading(decision: int) -> int:
    missing = decision >> 2 & 3
    to_the_left = bool(decision & DEFAULT_LEFT)
    if decision & CATEGORICAL:
        return AS_IT_IS
    if missing == MISSING_NONE:
        return NAN_IS_ZERO
    if missing == MISSING_ZERO:
        return ZERO_LEFT if to_the_left else ZERO_RIGHT
    return NAN_LEFT if to_the_left else AS_IT_IS


def _not_above(threshold: float) -> np.float32:
    """The largest float32 up to a threshold: the same float32 values are not above the two."""
    with np.errstate(over="ignore"):
        near = np.float32(threshold)
        return np.nextafter(near, np.float32(-np.inf)) if float(near) > threshold else near


def _compiled(function: Loop) -> Loop:
    """Machine code, kept on disk between processes where there is a place to write."""
    try:
        loop: Loop = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no folder
        loop = numba.njit(nogil=True)(function)
    return loop


@_compiled
def _keep_by_threshold(values: Any, threshold: Any, kept: Any, alive: Any) -> None:
    for row in range(len(values)):
        alive[row] &= ALL if values[row] <= threshold else kept


@_compiled
def _keep_by_category(values: Any, categories: Any, kept: Any, alive: Any) -> None:
    end = WORD * len(categories)
    for row in range(len(values)):
        goes_left = False
        if -1 < values[row] < end:
            category = np.int64(values[row])
            goes_left = (categories[category // WORD] >> np.uint32(category % WORD)) & np.uint32(1) != 0
        if not goes_left:
            alive[row] &= kept


@_compiled
def _add_trees(
    columns: Any, splits: Any, thresholds: Any, kept: Any, categories: Any, ends: Any, leaves: Any, scores: Any
) -> None:
    words = leaves.shape[1]
    for start in range(0, len(scores), ROWS_PER_BLOCK):
        rows = min(ROWS_PER_BLOCK, len(scores) - start)
        alive = np.empty((words, rows), np.uint32)
        split = 0
        for tree in range(len(ends)):
            alive[:] = ALL
            while split < ends[tree]:
                column, word, offset, size = splits[split]
                values = columns[column, start : start + rows]
                if size == 0:
                    _keep_by_threshold(values, thresholds[split], kept[split], alive[word])
                else:
                    _keep_by_category(values, categories[offset : offset + size], kept[split], alive[word])
                split += 1
            for row in range(rows):
                word = 0
                while alive[word, row] == 0:
                    word += 1
                bits = np.uint32(alive[word, row])
                first = np.uint32(bits & np.uint32(np.uint32(0) - bits))
                scores[start + row] += leaves[tree, word, np.uint32(first * DE_BRUIJN) >> np.uint32(27)]
