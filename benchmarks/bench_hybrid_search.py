"""Words, vectors, and both: NDCG@10 of text search on the generated world and on real Chinese recipes.

What is measured, on queries that no weight was fitted to:

- *world*: half of the 192 judged queries of the generated world (Chinese and English, grades 0 to 3 by construction)
  against its 2,400 notes; the weight is fitted to the other half. The tower never saw the queries. The notes are made
  from templates that name their subject, so words do better here than on notes that people write.
- *recipes*: 368 real Chinese recipes, which come without queries. A query is the first sentence of a recipe's
  description ("this is a home-cooked seafood dish in Thai style ..."), without any word of its title. *known item*
  counts that recipe alone; *graded* gives it 3 and every recipe of its category 1. No description stands in a text that
  is searched. The tower learns from all recipes without their descriptions, each line of a recipe being a query for the
  whole, and from the descriptions of one half of the recipes, as from a query log. The weight is fitted to the
  descriptions of an eighth; those of the other three eighths are the test. A description is longer and better informed
  than what people type, shares its author's words with the recipe, and a category is a coarse likeness. 368 recipes are
  few for a tower that starts from nothing, so vectors do worse here than they would with a pretrained encoder.

Words are `LexicalIndex`, vectors the tower's text vector against the fused read-out, exactly searched; both lists are
200 deep. Intervals are 95% bootstrap over queries; gains over each alone are paired.

    recsys run --config pipelines/configs/world.toml --home artifacts
    python benchmarks/bench_hybrid_search.py --home artifacts --data ../shared/data/howtocook-zh
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import tempfile
from collections.abc import Mapping, Sequence
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
from recsys.evaluation.judged_queries import JudgedQueries
from recsys.evaluation.judgements import Judgements, judge
from recsys.evaluation.metrics import measure
from recsys.index.exact import ExactIndex
from recsys.retrieval.hybrid import CUT_OFF, DENSE, HybridConfig, fit_share, hybrid_search
from recsys.retrieval.lexical import LexicalConfig, LexicalIndex
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
DEPTH = HybridConfig().depth
MOST_QUERIES = 2000
LEAST_OF_A_LINE = 8  # characters; shorter ones ask for nothing
BOILERPLATE = re.compile("预估|Issue|每次制作前")  # lines that stand in every recipe
TIMES_A_DESCRIPTION_COUNTS = 8  # beside some twenty lines of the recipe
METRIC = f"ndcg@{CUT_OFF}"
RESULTS = Path(__file__).parent / "results" / "hybrid_search.json"
MODEL = ClipConfig(
    width=128,
    text=TextConfig(max_tokens=192, vocab_size=6000, width=256, layers=0, dropout=0.2),
    image=ImageConfig(kind="features", width=1024, hidden=0, dropout=0.5),
)
TRAINER = TrainerConfig(
    seed=SEED,
    steps=220,
    items_per_batch=128,
    anchors_per_batch=0,
    evaluate_every=220,  # the last weights are taken: on its own lines every tower is right
    contrast=ContrastConfig(
        views={"caption-text": 0.5, "caption-fused": 0.5, "image-text": 0.1, "image-fused": 0.1}, behaviour={}
    ),
    optimizer=OptimizerConfig(learning_rate=2e-3, warmup_steps=20, weight_decay=0.1),
)


@dataclass(frozen=True, eq=False)
class Task:
    """Queries, what words and vectors find for them, and what is right.

    Attributes:
        words: candidates by words.
        dense: candidates by vectors.
        judgements: by name; weights are fitted to the first.
        fit: which queries weights are fitted to, ``[q]``; the others are the test.
    """

    words: Candidates
    dense: Candidates
    judgements: Mapping[str, Judgements]
    fit: npt.NDArray[np.bool_]


def task_of(
    data: Dataset,
    vectors: FloatArray,
    tower: Tower,
    texts: list[str],
    judgements: Mapping[str, Judgements],
    fit: npt.NDArray[np.bool_],
) -> Task:
    """Search for the texts in both ways."""
    index = ExactIndex(EmbeddingTable(data.ids, vectors, tower.fingerprint))
    return Task(
        LexicalIndex.build(data.items, LexicalConfig()).candidates(texts, DEPTH),
        Candidates(*index.search(tower.encode_text(texts), DEPTH), DENSE),
        judgements,
        fit,
    )


def world(home: Path) -> Task:
    """The judged queries of a home that was made from the generated world."""
    store = ArtifactStore(home)
    data = Dataset(store.current("dataset").path)
    queries = JudgedQueries.of(data, MOST_QUERIES)
    fit = np.random.default_rng(SEED).permutation(len(queries)) < len(queries) // 2
    vectors = np.asarray(open_tables(store.current("embeddings").path)["fused"].vectors)
    tower = open_tower(store.current("tower").path)
    return task_of(data, vectors, tower, queries.texts, {"graded": queries.judgements}, fit)


def recipes(folder: Path, scratch: Path) -> Task:
    """Descriptions of recipes, to be found by the rest of their text."""
    notes = pl.read_parquet(folder / "notes.parquet").sort("note_id")
    covers = pl.read_parquet(folder / "image_features.parquet").filter(pl.col("image_no") == 0)
    queries = [_query(title, intro) for title, intro in zip(notes["title"], notes["intro"], strict=True)]
    bodies = [_without(body, intro) for body, intro in zip(notes["body"], notes["intro"], strict=True)]
    part = np.random.default_rng(SEED).permutation(len(notes)) * 8 // len(notes)
    taught, fit = part < 4, part == 4
    items = notes.join(covers, on="note_id", how="left", maintain_order="left").select(
        pl.col("note_id").cast(pl.String).alias(schemas.ITEM_ID),
        pl.col("title").alias(schemas.TITLE),
        pl.Series(schemas.TEXT, bodies),
        pl.col("ingredients").alias(schemas.TAGS),
        pl.col("image_features").arr.to_list().alias(schemas.IMAGE_FEATURES),
    )
    with DatasetWriter(scratch / "recipes") as writer:
        writer.write("items", items)
        writer.write(
            "queries", _lessons(items, [query if t else None for query, t in zip(queries, taught, strict=True)])
        )
    data = Dataset(scratch / "recipes")
    tower = _taught(data, scratch)
    asked = np.flatnonzero(~taught).tolist()
    categories = notes["category"].to_numpy()
    alike = [np.flatnonzero(categories == categories[row]).tolist() for row in asked]
    grades = [[3 if other == row else 1 for other in others] for row, others in zip(asked, alike, strict=True)]
    return task_of(
        data,
        encode_rows(tower, data, range(len(notes)))["fused"],
        tower,
        [queries[row] for row in asked],
        {"graded": Judgements.of(alike, grades), "known item": Judgements.of([[row] for row in asked])},
        fit[~taught],
    )


def _lessons(items: pl.DataFrame, descriptions: Sequence[str | None]) -> list[dict[str, object]]:
    """What the tower takes for queries: the lines and ingredients of every recipe, and the descriptions given."""
    lessons: list[dict[str, object]] = []
    columns = (schemas.ITEM_ID, schemas.TITLE, schemas.TEXT, schemas.TAGS)
    for (item, title, text, tags), description in zip(items.select(columns).iter_rows(), descriptions, strict=True):
        lines = [line.strip(" -*.#0123456789") for line in text.splitlines() if not BOILERPLATE.search(line)]
        asked = [line for line in lines if len(line) >= LEAST_OF_A_LINE] + [" ".join(tags) or title]
        asked += TIMES_A_DESCRIPTION_COUNTS * ([description] if description else [])
        lessons += [
            {"query_id": f"{item}-{number}", "query": query, "item_id": item, "grade": 3}
            for number, query in enumerate(asked)
        ]
    return lessons


def _taught(data: Dataset, scratch: Path) -> Tower:
    """A tower that learned from all items, and from the queries that the data set holds."""
    rows = np.arange(len(data.ids), dtype=np.int32)
    captions = Captions.of(data, rows)
    torch.manual_seed(SEED)
    tower = create_tower(MODEL, [*(text or "" for text in item_texts(data.items)), *captions.texts])
    items = PreparedItems.prepare(data, tower, scratch / "pixels.npy", scratch / "cache", captions)
    pairs = mine_pairs(Interactions.of(data.events, data.ids), PairConfig())
    train(tower, items, rows, pairs, TRAINER, scratch)
    tower.save(scratch / "tower")
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
    """What each way of searching finds; the share of the words is the best one for the fit part."""
    fitted = np.flatnonzero(task.fit)
    leading = next(iter(task.judgements.values()))
    share = fit_share(_some(task.words, fitted), _some(task.dense, fitted), _judged(leading, fitted)).share
    return {
        "words": task.words,
        "dense": task.dense,
        "both, by ranks": hybrid_search(task.words, task.dense, CUT_OFF, None),
        f"both, by scores ({share} words)": hybrid_search(task.words, task.dense, CUT_OFF, share),
    }


def results(task: Task) -> list[dict[str, Any]]:
    """NDCG@10 of each system on the test queries, and its paired gain over words and over vectors alone."""
    found = systems(task)
    rows = []
    for judged, judgements in task.judgements.items():
        values = {
            name: measure(judge(candidates.rows, judgements, CUT_OFF), [METRIC])[METRIC][~task.fit]
            for name, candidates in found.items()
        }
        means = mean_intervals(values, SEED)
        for name, column in values.items():
            row: dict[str, Any] = {"judged": judged, "system": name, METRIC: means[name].model_dump()}
            for alone in ("words", "dense"):
                gain = paired_difference(column, values[alone], SEED)
                row[f"over {alone}"] = gain.model_dump() if gain is not None and name.startswith("both") else None
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path("artifacts"), help="a home of the generated world")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/howtocook-zh"))
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        parser.error(f"there is no folder {arguments.data}")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        measured = {
            "world": results(world(arguments.home)),
            "recipes": results(recipes(arguments.data, Path(scratch))),
        }
    show = Table(title="NDCG@10 of text search, test queries, 95% intervals")
    for column in ("data", "judged", "system", "NDCG@10", "over words", "over dense", "queries"):
        show.add_column(column)
    for data, rows in measured.items():
        for row in rows:
            show.add_row(
                data,
                row["judged"],
                row["system"],
                *map(_shown, (row[METRIC], row["over words"], row["over dense"])),
                str(row[METRIC]["n"]),
            )
    Console(width=140).print(show)
    made = {"made_at": datetime.now(UTC).isoformat(), "machine": platform.machine(), "results": measured}
    RESULTS.write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n")


def _shown(estimate: Mapping[str, float] | None) -> str:
    return "" if estimate is None else f"{estimate['value']:.4f} [{estimate['low']:.4f}, {estimate['high']:.4f}]"


def _some(found: Candidates, queries: npt.NDArray[np.int64]) -> Candidates:
    return Candidates(found.rows[queries], found.scores[queries], found.source)


def _judged(judgements: Judgements, queries: npt.NDArray[np.int64]) -> Judgements:
    parts = [slice(judgements.offsets[query], judgements.offsets[query + 1]) for query in queries]
    return Judgements.of([judgements.items[p].tolist() for p in parts], [judgements.grades[p].tolist() for p in parts])


if __name__ == "__main__":
    main()
