"""Qilin's test tables: orders of the exposed notes, by the official evaluation and without its quirks.

Three orders that need no training: as logged (what the product showed), clicks in the training tables, and BM25 of the
query over the exposed notes alone, as the published baseline has it (its words are single characters, ours are words).
Published on the first 1,000 requests, MRR@10 / MAP@10: search BM25 .3388 / .2399, cross-encoder .5336 / .3848, DCN-V2
.5600 / .4014; recommendation BM25 .5379 / .3933, cross-encoder .6346 / .4786, DCN-V2 .6307 / .4651.

    python benchmarks/qilin.py path/to/Qilin --home artifacts

reads the folder (or finds it read already), prints the table and writes benchmarks/results/qilin.json.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from pipelines.dataset import DatasetConfig, make_dataset
from recsys import schemas
from recsys.artifacts import ArtifactStore
from recsys.data.dataset import Dataset
from recsys.evaluation.qilin import ExposedRequest, exposed_requests, official, without_quirks
from recsys.retrieval.lexical import LexicalConfig, LexicalIndex
from recsys.types import ItemId

RESULTS = Path(__file__).parent / "results/qilin.json"
TABLES = ("search_test", "recommendation_test")
SHOWN = ("mrr@10", "map@10", "recall@10")
Scores = Callable[[ExposedRequest], Sequence[float]]


def systems(data: Dataset) -> Mapping[str, Scores]:
    """Scores of the exposed notes of a request, by the name of what gives them."""
    trained = data.events.filter(
        pl.col(schemas.REQUEST_ID).str.contains("_train/"), pl.col(schemas.EVENT_TYPE) == schemas.CLICK
    )
    clicks: Counter[ItemId] = Counter(trained[schemas.ITEM_ID])

    def words(request: ExposedRequest) -> Sequence[float]:
        notes = data.items[data.ids.rows(request.items).tolist()]
        index = LexicalIndex.build(notes, LexicalConfig())
        rows, scores = index.search([request.query or ""], len(notes))
        found = np.zeros(len(notes))
        found[rows[0][rows[0] >= 0]] = scores[0][rows[0] >= 0]
        return found.tolist()

    return {
        "as logged": lambda request: [-float(place) for place in range(len(request.items))],
        "clicks in training": lambda request: [clicks[item] for item in request.items],
        "BM25": words,
    }


def order(request: ExposedRequest, scores: Scores) -> list[ItemId]:
    """The exposed notes, best first; equal scores keep the logged order."""
    if not request.items:
        return []
    return [request.items[place] for place in np.argsort(-np.asarray(scores(request)), kind="stable")]


def results(data: Dataset) -> list[dict[str, Any]]:
    """One row for each table and system."""
    present = set(data.events[schemas.REQUEST_ID].drop_nulls().str.split("/").list.first().unique())
    rows = []
    for table in [table for table in TABLES if table in present]:
        requests = exposed_requests(data.events, table)
        clicked = [request.clicked for request in requests]
        for name, scores in systems(data).items():
            ranked = [order(request, scores) for request in requests]
            measured = {"official": official(ranked, clicked), "without quirks": without_quirks(ranked, clicked)}
            rows.append(
                {"table": table, "system": name, **{key: found.model_dump() for key, found in measured.items()}}
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with notes/, user_feat/, search_test/ ...")
    parser.add_argument("--home", type=Path, default=Path("artifacts"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    artifact, _ = make_dataset(ArtifactStore(arguments.home), DatasetConfig(folder=arguments.data, format="qilin"))
    measured = results(Dataset(artifact.path))
    show = Table(title="Orders of Qilin's exposed notes")
    for column in ("table", "system", "evaluation", "requests", *SHOWN):
        show.add_column(column)
    for row in measured:
        for kind in ("official", "without quirks"):
            metrics = row[kind]["metrics"]
            figures = [f"{metrics[name]:.4f}" if metrics else "" for name in SHOWN]
            show.add_row(row["table"], row["system"], kind, f"{row[kind]['requests']:,}", *figures)
    Console(width=120).print(show)
    made = {"made_at": datetime.now(UTC).isoformat(), "results": measured}
    arguments.out.write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
