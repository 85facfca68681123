"""What the report shows as pictures: a cover and what is near it, a text and what is found, a user and their feed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from pipelines.measure import HeldOut
from recsys import schemas
from recsys.data.dataset import Dataset
from recsys.embeddings.table import EmbeddingTable
from recsys.evaluation.sheet import Card, Row, SheetSection
from recsys.index.exact import ExactIndex
from recsys.serving.cascade import Cascade
from recsys.towers.base import ItemTower
from recsys.types import NO_ROW, Candidates, RowArray

ROWS_PER_SECTION = 5
RESULTS = 6
RECENT = 3


def contact_sheet(
    data: Dataset,
    tower: ItemTower,
    tables: dict[str, EmbeddingTable],
    cascade: Cascade,
    held_out: HeldOut,
    ranked: Candidates,
) -> list[SheetSection]:
    """Sections of the sheet; those the data set has no material for are left out."""
    sections = [_by_picture(data, tables), _by_text(data, tower, tables), _feeds(data, cascade, held_out, ranked)]
    return [section for section in sections if section.rows]


def _by_picture(data: Dataset, tables: dict[str, EmbeddingTable]) -> SheetSection:
    image = tables["image"].vectors
    with_picture = np.flatnonzero(np.any(image, axis=1))
    seeds = np.random.default_rng(0).choice(with_picture, min(ROWS_PER_SECTION, len(with_picture)), replace=False)
    found, _ = ExactIndex(tables["fused"]).search(np.asarray(image[seeds]), RESULTS + 1)
    rows = [
        Row(cards(data, [seed])[0], tuple(cards(data, [row for row in near if row not in (seed, NO_ROW)][:RESULTS])))
        for seed, near in zip(seeds, found, strict=True)
    ]
    return SheetSection("Search by picture", "A cover, and the notes whose fused vector is nearest to it.", tuple(rows))


def _by_text(data: Dataset, tower: ItemTower, tables: dict[str, EmbeddingTable]) -> SheetSection:
    judged = data.queries.filter(pl.col(schemas.GRADE) > 0)
    texts = judged[schemas.QUERY].unique(maintain_order=True)
    texts = texts.sample(min(ROWS_PER_SECTION, len(texts)), seed=3)
    found, _ = ExactIndex(tables["fused"]).search(tower.encode_text(texts.to_list()), RESULTS)
    rows = []
    for text, near in zip(texts, found, strict=True):
        right = set(data.ids.rows(judged.filter(pl.col(schemas.QUERY) == text)[schemas.ITEM_ID]).tolist())
        rows.append(Row(text, tuple(cards(data, near[near != NO_ROW].tolist(), right))))
    return SheetSection("Search by text", "A query, and what it finds; judged relevant notes are marked.", tuple(rows))


def _feeds(data: Dataset, cascade: Cascade, held_out: HeldOut, ranked: Candidates) -> SheetSection:
    active = np.argsort(-held_out.histories.lengths, kind="stable")[:ROWS_PER_SECTION]
    rows = []
    for user in active:
        recent = held_out.histories[int(user)][::-1][:RECENT]
        wanted = held_out.judgements.items[held_out.judgements.offsets[user] : held_out.judgements.offsets[user + 1]]
        slate = cascade.slate(ranked, int(user), RESULTS).kept
        rows.append(Row(tuple(cards(data, recent)), tuple(cards(data, slate, set(wanted.tolist())))))
    return SheetSection(
        "Feeds",
        "What a user engaged with last, and the slate made for them; what they did engage with later is marked.",
        tuple(rows),
    )


def cards(data: Dataset, rows: Sequence[int] | RowArray, right: set[int] | None = None) -> list[Card]:
    """Items as they are shown, in the order of ``rows``; those of ``right`` are marked."""
    listed = [int(row) for row in rows]
    items = data.items[listed]
    return [
        Card(title or "", category or "", cover, row in (right or ()))
        for row, title, category, cover in zip(
            listed, items[schemas.TITLE], items[schemas.CATEGORY], data.covers(listed), strict=True
        )
    ]
