"""Qilin's evaluation of exposed lists (Chen et al. 2025, arXiv 2503.00501), as its authors compute it and as we would.

Both score each request of a test table by its clicked notes: MRR@k, MAP@k with AP divided by min(clicked, k), recall@k
and precision@k. Requests without a click are left out of every mean. The official figures (:func:`official`) differ:

- only the first 1,000 requests of the table are scored;
- a request that a system gives no list for is left out of its means, here it counts as 0;
- a note that was exposed, and so listed, twice is counted as a hit twice (AP can exceed 1), here at its first place;
- a note that is judged twice counts twice among the clicked, here once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from recsys import schemas
from recsys.config import BaseConfig
from recsys.exceptions import DataError
from recsys.types import ItemId

OFFICIAL_REQUESTS = 1_000
CUT_OFFS = (10, 100)


@dataclass(frozen=True)
class ExposedRequest:
    """A request of a test table.

    Attributes:
        query: what was asked, if anything was.
        items: what was shown, top first; a note shown twice stands there twice.
        clicked: what was clicked, each once.
    """

    query: str | None
    items: tuple[ItemId, ...]
    clicked: tuple[ItemId, ...]


class QilinScores(BaseConfig):
    """Means over ``requests`` requests; ``metrics`` such as ``mrr@10``, empty where there is no request to score."""

    requests: int
    metrics: dict[str, float]


def exposed_requests(events: pl.DataFrame, table: str) -> list[ExposedRequest]:
    """The requests of a table such as ``search_test`` in its order, by their published numbers.

    Args:
        events: as :func:`recsys.data.formats.qilin.qilin` reads them, ``request_id`` = ``<table>/<number>``. A number
            that no event names is a request without exposures.
        table: the table's name.

    Raises:
        DataError: no event belongs to it.
    """
    number = pl.col(schemas.REQUEST_ID).str.strip_prefix(f"{table}/").cast(pl.Int64).alias("number")
    rows = events.filter(pl.col(schemas.REQUEST_ID).str.starts_with(f"{table}/")).with_columns(number)
    if rows.is_empty():
        known = events[schemas.REQUEST_ID].str.split("/").list.first().drop_nulls().unique().sort().to_list()
        raise DataError(f"No event belongs to {table!r}; there are {', '.join(known) or 'none'}.", "Ingest that table.")
    shown = pl.col(schemas.EVENT_TYPE) == schemas.IMPRESSION
    clicked = pl.col(schemas.EVENT_TYPE) == schemas.CLICK
    grouped = (
        rows.sort("number", schemas.POSITION, maintain_order=True)
        .group_by("number", maintain_order=True)
        .agg(
            pl.col(schemas.QUERY).first(),
            items=pl.col(schemas.ITEM_ID).filter(shown),
            clicked=pl.col(schemas.ITEM_ID).filter(clicked).unique(maintain_order=True),
        )
    )
    requests = [ExposedRequest(None, (), ())] * (grouped["number"][-1] + 1)
    for place, query, items, chosen in grouped.iter_rows():
        requests[place] = ExposedRequest(query, tuple(items), tuple(chosen))
    return requests


def official(
    ranked: Sequence[Sequence[ItemId]], clicked: Sequence[Sequence[ItemId]], cut_offs: Sequence[int] = CUT_OFFS
) -> QilinScores:
    """The published figures, quirks included.

    Args:
        ranked: each request's list, best first, in the order of the table; empty where the system has none.
        clicked: the judged notes of the same requests.
        cut_offs: the k of the metrics.

    Raises:
        DataError: another number of requests.
    """
    _same_length(ranked, clicked)
    pairs = list(zip(ranked, clicked, strict=True))[:OFFICIAL_REQUESTS]
    return _means([(rows, relevant) for rows, relevant in pairs if rows and relevant], cut_offs)


def without_quirks(
    ranked: Sequence[Sequence[ItemId]], clicked: Sequence[Sequence[ItemId]], cut_offs: Sequence[int] = CUT_OFFS
) -> QilinScores:
    """The same metrics over every request with a click, each note once; see :func:`official` for the arguments."""
    _same_length(ranked, clicked)
    pairs = [(list(dict.fromkeys(rows)), set(relevant)) for rows, relevant in zip(ranked, clicked, strict=True)]
    return _means([(rows, relevant) for rows, relevant in pairs if relevant], cut_offs)


def _same_length(ranked: Sequence[Sequence[ItemId]], clicked: Sequence[Sequence[ItemId]]) -> None:
    if len(ranked) != len(clicked):
        raise DataError(f"{len(ranked)} lists for {len(clicked)} requests.", "Give one list a request, empty or not.")


def _means(
    pairs: Sequence[tuple[Sequence[ItemId], Sequence[ItemId] | set[ItemId]]], cut_offs: Sequence[int]
) -> QilinScores:
    totals = {f"{metric}@{k}": 0.0 for k in cut_offs for metric in ("mrr", "map", "recall", "precision")}
    for ranked, relevant in pairs:
        hits = [item in relevant for item in ranked]
        for k in cut_offs:
            places = [place for place, hit in enumerate(hits[:k], start=1) if hit]
            precisions = [found / place for found, place in enumerate(places, start=1)]
            totals[f"mrr@{k}"] += 1 / places[0] if places else 0.0
            totals[f"map@{k}"] += sum(precisions) / min(len(relevant), k)
            totals[f"recall@{k}"] += len(places) / len(relevant)
            totals[f"precision@{k}"] += len(places) / k
    count = len(pairs)
    return QilinScores(requests=count, metrics={name: total / count for name, total in totals.items()} if count else {})
