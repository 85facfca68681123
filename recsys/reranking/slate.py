"""Slate: what one request shows, and what it does not show and why."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from recsys.reranking.diversity import SSDConfig, ssd
from recsys.types import NO_ROW, FloatArray, RowArray


class Reason(StrEnum):
    """Why a candidate is not on the slate."""

    ALREADY_SHOWN = "already shown"
    DOUBLE = "candidate occurs twice"
    SLATE_FULL = "slate full"


@dataclass(frozen=True, eq=False)
class Slate:
    """Both halves of the decision.

    Attributes:
        kept: item rows in the order they are shown, int32.
        dropped: item rows left out, in the order of the candidates, int32.
        reasons: one per dropped row.
    """

    kept: RowArray
    dropped: RowArray
    reasons: list[Reason]


def diverse_slate(
    rows: RowArray,
    scores: FloatArray,
    vectors: FloatArray,
    size: int,
    config: SSDConfig,
    shown: Collection[int] = (),
    previous: FloatArray | None = None,
) -> Slate:
    """Fill a slate by score and variety (:func:`recsys.reranking.diversity.ssd`).

    Args:
        rows: candidates of one request, int32 ``[m]``, may be padded.
        scores: of the ranker, ``[m]``.
        vectors: of the candidates, ``[m, d]``, unit length or zero.
        size: of the slate.
        config: of the diversity.
        shown: rows that must not come again.
        previous: vectors of the previous page, in order, ``[p, d]``.
    """
    first = np.zeros(len(rows), np.bool_)
    first[np.unique(rows, return_index=True)[1]] = True
    old = np.isin(rows, np.fromiter(shown, dtype=np.int64))
    reasons: dict[int, Reason] = {}
    for position in np.flatnonzero(rows != NO_ROW):
        if old[position]:
            reasons[int(position)] = Reason.ALREADY_SHOWN
        elif not first[position]:
            reasons[int(position)] = Reason.DOUBLE
    eligible = np.flatnonzero((rows != NO_ROW) & first & ~old)
    order = eligible[ssd(scores[eligible], vectors[eligible], size, config, previous)]
    reasons |= dict.fromkeys((int(position) for position in np.setdiff1d(eligible, order)), Reason.SLATE_FULL)
    places = sorted(reasons)
    return Slate(rows[order], rows[np.asarray(places, np.int64)], [reasons[place] for place in places])
