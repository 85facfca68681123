"""A live index: what fresh and removed rows cost a search, how fast writes are acknowledged, and recall after churn.

200,000 clustered vectors of 64 numbers behind IVF, one thread, searches one query at a time. Beside the live index
stands the same generation alone (what a search costs without changes) and one rebuilt from scratch (the recall to
compare with, after 30% of the items were removed, moved or added).

    python benchmarks/bench_live.py
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table

from recsys.embeddings.table import EmbeddingTable
from recsys.index.ann import FaissConfig
from recsys.index.exact import ExactIndex
from recsys.index.generation import IndexConfig, IndexGeneration, build_generation
from recsys.index.live import LiveConfig, LiveIndex
from recsys.types import FloatArray, IdMap, RowArray

ITEMS, WIDTH, CLUSTERS, K, QUERIES, ROUNDS = 200_000, 64, 1000, 10, 200, 5
INDEX = IndexConfig(kind="faiss", faiss=FaissConfig(nlist=512, nprobe=8))
TOWER = "benchmark"
RESULTS = Path(__file__).parent / "results" / "live.json"

random = np.random.default_rng(0)
centres = random.standard_normal((CLUSTERS, WIDTH), np.float32)


def clustered(count: int) -> FloatArray:
    vectors = centres[random.integers(CLUSTERS, size=count)] + 0.5 * random.standard_normal((count, WIDTH), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def milliseconds(search: Callable[[FloatArray, int], object], queries: FloatArray) -> float:
    """Median over rounds of the mean of one query at a time."""
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for query in queries:
            search(query[None], K)
        rounds.append(1000 * (time.perf_counter() - started) / len(queries))
    return statistics.median(rounds)


def timed(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def searches(live: LiveIndex, queries: FloatArray) -> dict[str, float]:
    base = live.snapshot.base
    found = {"generation alone": milliseconds(base.index.search, queries)}
    added = 0
    for count in (0, 1_000, 10_000, 100_000):
        if count > added:
            live.put([f"fresh-{n}" for n in range(added, count)], clustered(count - added), TOWER)
            added = count
        found[f"{count:,} fresh rows"] = milliseconds(live.snapshot.search, queries)
    live.remove([f"i{row}" for row in range(0, ITEMS, 10)])
    found["100,000 fresh rows, 10% of the base removed"] = milliseconds(live.snapshot.search, queries)
    live.merge()
    found["merged"] = milliseconds(live.snapshot.search, queries)
    return found


def writes(live: LiveIndex) -> dict[str, float]:
    """Items a second, acknowledged."""
    found = {}
    for batch, count in ((1, 100), (100, 30), (1000, 10)):
        vectors = clustered(batch)
        ids = [f"written-{n}" for n in range(batch)]
        seconds = timed(
            lambda ids=ids, vectors=vectors, count=count: [live.put(ids, vectors, TOWER) for _ in range(count)]
        )
        found[f"one writer, {batch} at a time"] = batch * count / seconds
    vector = clustered(1)
    threads = [
        threading.Thread(target=lambda n=n: [live.put([f"thread-{n}"], vector, TOWER) for _ in range(50)])
        for n in range(16)
    ]
    seconds = timed(lambda: ([thread.start() for thread in threads], [thread.join() for thread in threads]))
    found["16 writers, 1 at a time"] = 16 * 50 / seconds
    return found


def recalls(folder: Path, table: EmbeddingTable) -> dict[str, float]:
    """After 30% churn: a tenth removed, a tenth moved, a tenth new."""
    live = LiveIndex.create(folder / "churned", folder / "generation", LiveConfig(index=INDEX))
    tenth = ITEMS // 10
    moved, new = [f"i{row}" for row in range(tenth, 2 * tenth)], [f"n{row}" for row in range(tenth)]
    live.remove([f"i{row}" for row in range(tenth)])
    live.put(moved + new, clustered(2 * tenth), TOWER)
    now = live.snapshot.table()
    queries = clustered(500)
    truth = [set(now.ids.externals(rows)) for rows in ExactIndex(now).search(queries, K)[0]]

    def recall(externals: Callable[[RowArray], list[str]], rows: RowArray) -> float:
        return float(np.mean([len(best & set(externals(of))) / K for best, of in zip(truth, rows, strict=True)]))

    build_generation(now, INDEX, folder / "rebuilt")
    rebuilt = IndexGeneration.open(folder / "rebuilt")
    found = {"live": recall(live.snapshot.externals, live.snapshot.search(queries, K)[0])}
    live.merge()
    found["merged"] = recall(live.snapshot.externals, live.snapshot.search(queries, K)[0])
    found["rebuilt"] = recall(rebuilt.ids.externals, rebuilt.index.search(queries, K)[0])
    live.close()
    return found


def measured(folder: Path) -> dict[str, Any]:
    table = EmbeddingTable(IdMap.of(f"i{row}" for row in range(ITEMS)), clustered(ITEMS), TOWER)
    build_generation(table, INDEX, folder / "generation")
    live = LiveIndex.create(folder / "live", folder / "generation", LiveConfig(index=INDEX, merge_at=10**9))
    found: dict[str, Any] = {"search_ms": searches(live, clustered(QUERIES)), "items_per_second": writes(live)}
    live.put([f"late-{n}" for n in range(100_000)], clustered(100_000), TOWER)
    live.close()
    found["seconds_to_open_with_100,000_in_the_log"] = timed(lambda: LiveIndex(folder / "live", live.config).close())
    return found | {"recall@10_after_30%_churn": recalls(folder, table)}


def show(found: dict[str, Any]) -> None:
    console = Console(width=120)
    for name, form in (("search_ms", ".3f"), ("items_per_second", ",.0f"), ("recall@10_after_30%_churn", ".4f")):
        table = Table(title=name.replace("_", " "))
        for column in ("", "value"):
            table.add_column(column)
        for what, value in found[name].items():
            table.add_row(what, f"{value:{form}}")
        console.print(table)
    console.print(f"opened with 100,000 in the log: {found['seconds_to_open_with_100,000_in_the_log']:.2f} s")


def main() -> None:
    faiss.omp_set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder))
    show(found)
    made_on = {"date": datetime.now(UTC).isoformat(), "machine": platform.machine(), "cores": os.cpu_count()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(made_on | {"faiss": faiss.__version__, "items": ITEMS} | found, indent=2) + "\n")


if __name__ == "__main__":
    main()
