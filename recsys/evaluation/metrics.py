"""Accuracy of ranked lists: recall, hit rate, NDCG, MAP and MRR, each per request and for all requests at once.

Every metric takes :class:`~recsys.evaluation.judgements.JudgedLists` and a cut-off k and returns float64 ``[n]``,
``nan`` for a request to which nothing is relevant: such a request has no right answer and is left out of every mean.

In the formulas below g_i is the grade at position i (1 = top), rel_i = [g_i > 0] and R the set of relevant items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from recsys.evaluation.judgements import JudgedLists
from recsys.exceptions import ConfigError
from recsys.types import FloatArray

Values = npt.NDArray[np.float64]


def recall(lists: JudgedLists, k: int) -> Values:
    """Recall@k = sum_{i<=k} rel_i / |R|."""
    return _defined(np.asarray(_hits(lists, k).sum(axis=1) / np.maximum(lists.relevant, 1)), lists)


def hit_rate(lists: JudgedLists, k: int) -> Values:
    """HR@k = 1 if any rel_i, i <= k, else 0."""
    return _defined(np.asarray(_hits(lists, k).any(axis=1), dtype=np.float64), lists)


def ndcg(lists: JudgedLists, k: int) -> Values:
    """NDCG@k = DCG@k / IDCG@k, DCG@k = sum_{i<=k} (2^g_i - 1) / log2(i + 1).

    IDCG@k is the DCG@k of the best k of *all* relevant items, listed or not.
    """
    ideal = _dcg(lists.ideal[:, :k])
    return _defined(_dcg(lists.grades[:, :k]) / np.where(ideal > 0, ideal, 1), lists)


def average_precision(lists: JudgedLists, k: int) -> Values:
    """AP@k = 1 / min(|R|, k) * sum_{i<=k} rel_i * (hits among the first i) / i; its mean is MAP@k."""
    hits = _hits(lists, k)
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return _defined((precision * hits).sum(axis=1) / np.clip(lists.relevant, 1, k), lists)


def reciprocal_rank(lists: JudgedLists, k: int) -> Values:
    """RR@k = 1 / (position of the first relevant item), 0 if it is not among the first k; its mean is MRR@k."""
    hits = _hits(lists, k)
    return _defined(np.where(hits.any(axis=1), 1 / (1 + hits.argmax(axis=1)), 0.0), lists)


METRICS: Mapping[str, Callable[[JudgedLists, int], Values]] = {
    "recall": recall,
    "hr": hit_rate,
    "ndcg": ndcg,
    "map": average_precision,
    "mrr": reciprocal_rank,
}


def measure(lists: JudgedLists, names: Sequence[str]) -> dict[str, Values]:
    """Several metrics by name.

    Args:
        lists: the judged lists.
        names: ``metric@k``, such as ``recall@50``; the metrics are the keys of :data:`METRICS`.

    Raises:
        ConfigError: an unknown metric, or no cut-off.
    """
    return {name: METRICS[metric](lists, k) for name, metric, k in map(_parsed, names)}


def cut_off(name: str) -> int:
    """The k of ``metric@k``."""
    return _parsed(name)[2]


def _parsed(name: str) -> tuple[str, str, int]:
    metric, _, k = name.partition("@")
    if metric not in METRICS or not k.isdecimal() or int(k) < 1:
        raise ConfigError(f"There is no metric {name!r}.", f"Use one of {', '.join(METRICS)} and a cut-off: 'ndcg@10'.")
    return name, metric, int(k)


def _hits(lists: JudgedLists, k: int) -> npt.NDArray[np.bool_]:
    return np.asarray(lists.grades[:, :k] > 0)


def _dcg(grades: FloatArray) -> Values:
    discount = 1 / np.log2(np.arange(2, grades.shape[1] + 2))
    return np.asarray((np.exp2(grades.astype(np.float64)) - 1) @ discount)


def _defined(values: Values, lists: JudgedLists) -> Values:
    return np.where(lists.relevant > 0, values, np.nan)
