"""Words, vectors, and both: NDCG@10 of text search on the generated world and on real Chinese recipes.

What is measured, on queries that no weight was fitted to:

- *world*: the 192 judged queries of the generated world (Chinese and English, grades 0 to 3 by construction) against its
  2,400 notes. The tower never saw the queries. The notes are made from templates that name their subject, so words do
  better here than they would on notes that people write.
- *recipes*: 368 real Chinese recipes, which come without queries. A query is the first sentence of a recipe's
  description ("serious seafood with curry ..."), without any word of its title; the right answer is that recipe
  (grade 3), and recipes of its category are a little right (grade 1); `known item` counts the recipe alone. The
  descriptions stand in no text that is searched. The tower learns from all recipes without them, and from the
  descriptions of one half of the recipes as from a query log; the weight is fitted to a quarter of the others. A
  description is longer and better informed than what people type, and 368 recipes are few for a tower that starts from
  nothing: this is a small, cold catalogue, where words are strong.

Words are `LexicalIndex`, vectors the tower's text vector against the fused read-out, exactly searched; both lists are
200 deep. Intervals are 95% bootstrap over queries; gains are paired.

    recsys run --config pipelines/configs/world.toml --home artifacts
    python benchmarks/bench_hybrid_search.py --home artifacts --data ../shared/data/howtocook-zh
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from rich.console import Console
from rich.table import Table

from recsys import schemas
from recsys.artifacts import ArtifactStore
from recsys.data.captions import Captions
from recsys.data.dataset import Dataset, DatasetWriter
from recsys.data.interactions import Interactions
from recsys.data.pairs import PairConfig, mine_pairs
from recsys.embeddings.encode import encode_rows, open_tables
from recsys.embeddings.table import EmbeddingTable
from recsys.encoders.image import ImageConfig
from recsys.encoders.text import TextConfig
from recsys.evaluation.intervals import mean_intervals, paired_difference
from recsys.evaluation.judgements import Judgements, judge
from recsys.evaluation.metrics import Values, measure
from recsys.index.exact import ExactIndex
from recsys.retrieval.fusion import reciprocal_rank_fusion, score_fusion
from recsys.retrieval.lexical import WORDS, LexicalConfig, LexicalIndex
from recsys.retrieval.words import words_of
from recsys.towers.base import item_texts
from recsys.towers.clip import ClipConfig
from recsys.towers.families import create_tower, open_tower
from recsys.towers.tower import Tower
from recsys.training.contrast import ContrastConfig
from recsys.training.optimizer import OptimizerConfig
from recsys.training.prepared import PreparedItems
from recsys.training.trainer import TrainerConfig, train
from recsys.types import Candidates, FloatArray

SEED = 0
DEPTH = 200
DENSE = "dense"
WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))
RESULTS = Path(__file__).parent / "results" / "hybrid_search.json"
MODEL = ClipConfig(
    width=128,
    text=TextConfig(max_tokens=192, vocab_size=6000, width=256, layers=0, dropout=0.2),
    image=ImageConfig(kind="features", width=1024, hidden=0, dropout=0.5),
)
TRAINER = TrainerConfig(
    seed=SEED,
    steps=300,
    items_per_batch=128,
    anchors_per_batch=0,
    evaluate_every=50,
    patience=9,
    contrast=ContrastConfig(
        views={"caption-text": 0.5, "caption-fused": 0.5, "image-text": 0.1, "image-fused": 0.1}, behaviour={}
    ),
    optimizer=OptimizerConfig(learning_rate=2e-3, warmup_steps=20, weight_decay=0.1),
)


@dataclass(frozen=True, eq=False)
class Task:
    """Queries, what is searched, and what is right.

    Attributes:
        data: the items.
        vectors: of the items, ``[n, d]``.
        texts: the queries.
        queries: their vectors, ``[q, d]``.
        judgements: by name; the first leads.
        fit: which queries a weight may be fitted to, ``[q]``; the others are the test.
    """

    data: Dataset
    vectors: FloatArray
    texts: list[str]
    queries: FloatArray
    judgements: Mapping[str, Judgements]
    fit: npt.NDArray[np.bool_]


def world(home: Path) -> Task:
    """The judged queries of a home that was made from the generated world."""
    store = ArtifactStore(home)
    data = Dataset(store.current("dataset").path)
    judged = (
        data.queries.filter(pl.col(schemas.GRADE) > 0)
        .group_by(schemas.QUERY_ID, maintain_order=True)
        .agg(pl.col(schemas.QUERY).first(), schemas.ITEM_ID, schemas.GRADE)
    )
    texts = judged[schemas.QUERY].to_list()
    items = [data.ids.rows(found).tolist() for found in judged[schemas.ITEM_ID].to_list()]
    fit = np.random.default_rng(SEED).permutation(len(texts)) < len(texts) // 2
    return Task(
        data,
        np.asarray(open_tables(store.current("embeddings").path)["fused"].vectors),
        texts,
        open_tower(store.current("tower").path).encode_text(texts),
        {"graded": Judgements.of(items, judged[schemas.GRADE].to_list())},
        fit,
    )


def recipes(folder: Path, scratch: Path) -> Task:
    """Descriptions of recipes, to be found by the rest of their text."""
    notes = pl.read_parquet(folder / "notes.parquet").sort("note_id")
    features = pl.read_parquet(folder / "image_features.parquet").filter(pl.col("image_no") == 0)
    descriptions = [_query(title, intro) for title, intro in zip(notes["title"], notes["intro"], strict=True)]
    part = np.random.default_rng(SEED).permutation(len(notes)) * 8 // len(notes)
    taught, fit, test = part < 4, part == 4, part > 4
    items = notes.join(features, on="note_id", how="left", maintain_order="left").select(
        pl.col("note_id").cast(pl.String).alias(schemas.ITEM_ID),
        pl.col("title").alias(schemas.TITLE),
        pl.Series(schemas.TEXT, [_without(body, intro) for body, intro in zip(notes["body"], notes["intro"], strict=True)]),
        pl.col("ingredients").alias(schemas.TAGS),
        pl.col("category").alias(schemas.CATEGORY),
        pl.col("image_features").arr.to_list().alias(schemas.IMAGE_FEATURES),
    )
    log = [
        {"query_id": str(row), "query": descriptions[row], "language": "zh", "item_id": items["item_id"][row], "grade": 3}
        for row in np.flatnonzero(taught).tolist()
    ]
    with DatasetWriter(scratch / "recipes") as writer:
        writer.write("items", items)
        writer.write("queries", log)
    data = Dataset(scratch / "recipes")
    tower = _taught(data, scratch)
    asked = np.flatnonzero(~taught).tolist()
    texts = [descriptions[row] for row in asked]
    categories = notes["category"].to_numpy()
    alike = [np.flatnonzero(categories == categories[row]).tolist() for row in asked]
    grades = [[3 if other == row else 1 for other in others] for row, others in zip(asked, alike, strict=True)]
    return Task(
        data,
        encode_rows(tower, data, range(len(notes)))["fused"],
        texts,
        tower.encode_text(texts),
        {"graded": Judgements.of(alike, grades), "known item": Judgements.of([[row] for row in asked])},
        fit[~taught],
    )


def _taught(data: Dataset, scratch: Path) -> Tower:
    """A tower that learned from all items, and from the queries that the data set holds."""
    rows = np.arange(len(data.ids), dtype=np.int32)
    captions = Captions.of(data, rows)
    torch.manual_seed(SEED)
    tower = create_tower(MODEL, [*(text or "" for text in item_texts(data.items)), *captions.texts])
    items = PreparedItems.prepare(data, tower, scratch / "pixels.npy", scratch / "cache", captions)
    pairs = mine_pairs(Interactions.of(data.events, data.ids), PairConfig())
    train(tower, items, rows, pairs, TRAINER, scratch)
    return tower


def _query(title: str, description: str) -> str:
    """The first sentence of a description, without its title and without every word of it."""
    sentence = re.split("(?<=。)", description.strip())[0]
    for word in sorted({title, *words_of(title)}, key=len, reverse=True):
        sentence = sentence.replace(word, " ")
    return sentence


def _without(body: str, description: str) -> str:
    for line in filter(None, map(str.strip, description.splitlines())):
        body = body.replace(line, "")
    return body


def systems(task: Task) -> dict[str, Candidates]:
    """What each way of searching finds; the weight is the best one for the fit part."""
    depth = min(DEPTH, len(task.data.ids))
    table = EmbeddingTable(task.data.ids, task.vectors, "benchmark")
    words = LexicalIndex.build(task.data.items, LexicalConfig()).candidates(task.texts, depth)
    dense = Candidates(*ExactIndex(table).search(task.queries, depth), DENSE)
    weighted = {w: score_fusion([words, dense], 10, {WORDS: w, DENSE: 1 - w}) for w in WEIGHTS}
    leading = next(iter(task.judgements.values()))
    on_fit = {w: float(ndcg(found, leading)[task.fit].mean()) for w, found in weighted.items()}
    best = max(WEIGHTS, key=lambda w: (on_fit[w], -abs(w - 0.5)))
    return {
        WORDS: words.top(10),
        DENSE: dense.top(10),
        "reciprocal ranks": reciprocal_rank_fusion([words, dense], 10),
        f"weighted scores, words {best}": weighted[best],
    }


def ndcg(found: Candidates, judgements: Judgements) -> Values:
    return measure(judge(found.rows, judgements, 10), ["ndcg@10"])["ndcg@10"]
