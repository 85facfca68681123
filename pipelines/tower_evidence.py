"""What a tower is judged by: the items it has not learned from, the texts that are about them, later behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from pipelines.train_tower import TowerConfig, learnable
from recsys import schemas
from recsys.config import BaseConfig
from recsys.data.dataset import Dataset
from recsys.data.held_out import held_out_rows
from recsys.data.interactions import Interactions
from recsys.data.pairs import ItemPairs, mine_pairs
from recsys.data.splits import split_events
from recsys.evaluation.judgements import Judgements
from recsys.evaluation.slices import ItemSlice, text_characters
from recsys.towers.tower import Tower
from recsys.training.validation import hold_out
from recsys.types import FloatArray, RowArray

NO_LANGUAGE = "unknown language"
SEED = 0


class Sizes(BaseConfig):
    """How much is measured at most; more is drawn from at random, with a fixed seed."""

    items: int = 10_000  # evaluated items, where the config holds none out
    queries: int = 10_000  # texts per language
    anchors: int = 2_000  # items asked for their partners
    spread: int = 2_000  # vectors whose geometry is measured
    looked_at: int = 500  # texts and pictures that matching and captioning look at
    reranked_among: int = 1_000  # pictures


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The items a tower is judged by.

    Attributes:
        rows: item rows, ascending, int32 ``[n]``.
        which: which they are, as a sentence.
        learned: rows of the items it could learn from, ascending.
        pairs: behaviour pairs it could learn from, of two such items.
    """

    rows: RowArray
    which: str
    learned: RowArray
    pairs: ItemPairs

    @classmethod
    def of(cls, data: Dataset, config: TowerConfig, sizes: Sizes) -> Evaluated:
        """Items that the tower's config holds out; else all that it never learned from."""
        learnable_rows, pairs = learnable(data, config)
        _, learned = hold_out(learnable_rows, config.trainer.validation_share, config.trainer.seed)
        pairs = pairs.where(np.isin(pairs.a, learned) & np.isin(pairs.b, learned))
        if config.held_out is not None:
            rows = held_out_rows(data, config.held_out)
            which = f"the {len(rows):,} items that the tower's config holds out"
        else:
            rows = np.setdiff1d(np.arange(len(data.ids), dtype=np.int32), learned)
            which = (
                f"the {len(rows):,} items that the tower never learned from: those published after its training "
                "window, and those that decided when training stopped"
            )
            if len(rows) > sizes.items:
                rows = drawn(rows, sizes.items)
                which += f"; {len(rows):,} of them, drawn at random"
        return cls(rows, f"Evaluated are {which}.", learned, pairs)


@dataclass(frozen=True, eq=False)
class Asked:
    """Texts in one language that are about evaluated items.

    Attributes:
        language: as the data set has it.
        texts: n queries.
        vectors: unit vectors ``[n, d]``.
        right: rows of the items each is about.
    """

    language: str
    texts: list[str]
    vectors: FloatArray
    right: Judgements

    def among(self, items: RowArray) -> Asked:
        """The texts that are about one of ``items`` (ascending rows), whose places there become the answers."""
        inside = np.isin(self.right.items, items)
        places = np.searchsorted(items, self.right.items[inside])
        answers = judged(self.right.requests[inside], places, len(self.texts))
        kept = np.flatnonzero(np.diff(answers.offsets))
        offsets = np.append(answers.offsets[kept], answers.offsets[-1])
        right = Judgements(offsets, answers.items, answers.grades)
        return Asked(self.language, [self.texts[query] for query in kept], self.vectors[kept], right)

    def take(self, queries: RowArray) -> Asked:
        """Some of the texts, in ascending order."""
        keep = np.isin(self.right.requests, queries)
        place = np.searchsorted(queries, self.right.requests[keep])
        right = judged(place, self.right.items[keep], len(queries))
        return Asked(self.language, [self.texts[query] for query in queries], self.vectors[queries], right)


def asked_texts(data: Dataset, tower: Tower, evaluated: Evaluated, sizes: Sizes) -> list[Asked]:
    """The judged queries of the evaluated items, encoded, per language."""
    items = pl.DataFrame({schemas.ITEM_ID: data.ids.externals(evaluated.rows)}, {schemas.ITEM_ID: pl.String})
    grouped = (
        data.queries.filter(pl.col(schemas.GRADE) > 0)
        .join(items, on=schemas.ITEM_ID, how="semi", maintain_order="left")
        .group_by(schemas.QUERY_ID, maintain_order=True)
        .agg(
            pl.col(schemas.QUERY).first(),
            pl.col(schemas.LANGUAGE).first().fill_null(NO_LANGUAGE),
            pl.col(schemas.ITEM_ID).unique(maintain_order=True),
        )
    )
    found = []
    for (language,), part in grouped.group_by(schemas.LANGUAGE, maintain_order=True):
        chosen = part if len(part) <= sizes.queries else part.sample(sizes.queries, seed=SEED)
        texts = chosen[schemas.QUERY].to_list()
        right = Judgements.of([data.ids.rows(ids).tolist() for ids in chosen[schemas.ITEM_ID].to_list()])
        order = np.argsort([len(text) for text in texts], kind="stable")  # texts of like length: little padding
        vectors = np.empty((len(texts), tower.width), np.float32)
        vectors[order] = tower.encode_text([texts[place] for place in order])
        found.append(Asked(str(language), texts, vectors, right))
    return found


@dataclass(frozen=True, eq=False)
class LaterPairs:
    """Behaviour pairs of the time after the tower's training window: who engaged with A, and soon after with B.

    Attributes:
        anchors: rows of the items asked for, int32 ``[n]``.
        partners: rows of the B of each.
        known: partners of each that the tower could learn from, in either direction.
        parts: slices of the catalogue by name, see :func:`later_pairs`.
    """

    anchors: RowArray
    partners: Judgements
    known: Judgements
    parts: tuple[ItemSlice, ...]


def later_pairs(data: Dataset, config: TowerConfig, evaluated: Evaluated, sizes: Sizes) -> LaterPairs | None:
    """Pairs mined as the tower's were, from all later events; ``None`` where there are none.

    Under leave-last-out these are pairs among each user's last engagements (the ranker's labels and the test item).
    """
    if data.events.is_empty():
        return None
    split = split_events(data.events, config.split)
    later = mine_pairs(Interactions.of(pl.concat([split.label, split.test]), data.ids), config.pairs)
    anchors = np.unique(later.a)
    if not len(anchors):
        return None
    if len(anchors) > sizes.anchors:
        anchors = drawn(anchors, sizes.anchors)
    n_items = len(data.ids)
    chosen = later.where(np.isin(later.a, anchors))
    learned = np.zeros(n_items, np.bool_)
    learned[evaluated.learned] = True
    met = Interactions.of(split.fit, data.ids).item_counts() > 0
    characters = text_characters(data.items)
    few = np.quantile(characters, 0.25)
    parts = (
        ItemSlice("short text", f"partners with at most {few:.0f} characters, the lowest quarter", characters <= few),
        ItemSlice("cold", "partners of whom the tower learned no interaction", ~(met & learned)),
    )
    known = sparse.csr_array(
        (np.ones(len(evaluated.pairs)), (evaluated.pairs.a, evaluated.pairs.b)), shape=(n_items, n_items)
    )
    either = sparse.csr_array(known + known.T)[anchors]
    return LaterPairs(
        anchors,
        judged(np.searchsorted(anchors, chosen.a), chosen.b, len(anchors)),
        judged(np.repeat(np.arange(len(anchors)), np.diff(either.indptr)), either.indices, len(anchors)),
        tuple(part for part in parts if part.items[chosen.b].any()),
    )


def judged(requests: npt.NDArray[Any], items: npt.NDArray[Any], n: int) -> Judgements:
    """Judgements from (request, item) pairs whose requests ascend."""
    offsets = np.concatenate([[0], np.cumsum(np.bincount(requests, minlength=n))]).astype(np.int64)
    return Judgements(offsets, items.astype(np.int32), np.ones(len(items), np.float32))


def drawn(rows: RowArray, count: int) -> RowArray:
    """At most ``count`` of the rows, in their order."""
    if len(rows) <= count:
        return rows
    return rows[np.sort(np.random.default_rng(SEED).choice(len(rows), count, replace=False))]
