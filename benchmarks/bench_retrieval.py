"""Exact and IVF search against numpy and plain FAISS, side by side on the same clustered vectors and threads.

Run: ``python benchmarks/bench_retrieval.py``. Prints a table and writes ``benchmarks/results/retrieval.json``. The
figures to trust are the ratios to the peer ``faiss-flat`` of the same run.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import faiss
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from recsys.embeddings.table import EmbeddingTable
from recsys.index.ann import FaissConfig, FaissIndex
from recsys.index.exact import ExactIndex
from recsys.types import FloatArray, IdMap, RowArray

VECTORS, WIDTH, CLUSTERS, QUERIES, K, RUNS = 100_000, 64, 1000, 500, 10, 5
RESULTS = Path(__file__).parent / "results" / "retrieval.json"


def main() -> None:
    faiss.omp_set_num_threads(1)
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    centres = _unit(random.normal(size=(CLUSTERS, WIDTH)))
    vectors = _unit(centres[random.integers(CLUSTERS, size=VECTORS)] + 0.5 * random.normal(size=(VECTORS, WIDTH)) / 8)
    queries = _unit(vectors[random.integers(VECTORS, size=QUERIES)] + 0.1 * random.normal(size=(QUERIES, WIDTH)) / 8)
    table = EmbeddingTable(IdMap.of(str(row) for row in range(VECTORS)), vectors, "benchmark")

    plain = faiss.IndexFlatIP(WIDTH)
    plain.add(vectors)
    exact, ivf = ExactIndex(table), FaissIndex.build(table, FaissConfig(kind="ivf"))
    systems: dict[str, Callable[[], RowArray]] = {
        "faiss-flat (peer)": lambda: plain.search(queries, K)[1],
        "numpy (peer)": lambda: np.argpartition(-(queries @ vectors.T), K, axis=1)[:, :K],
        "ExactIndex": lambda: exact.search(queries, K)[0],
        "FaissIndex ivf": lambda: ivf.search(queries, K)[0],
    }
    truth = exact.search(queries, K)[0]
    seconds = {name: _medians(search) for name, search in systems.items()}
    found = {
        name: {
            "queries_per_second": QUERIES / seconds[name],
            "ratio_to_faiss_flat": seconds["faiss-flat (peer)"] / seconds[name],
            "recall@10": np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(search(), truth, strict=True)]),
        }
        for name, search in systems.items()
    }
    show = Table(title=f"{VECTORS:,} x {WIDTH}, k = {K}, one thread, median of {RUNS}")
    for column in ("system", "queries/s", "ratio", "recall@10"):
        show.add_column(column)
    for name, figures in found.items():
        show.add_row(
            name,
            f"{figures['queries_per_second']:,.0f}",
            f"{figures['ratio_to_faiss_flat']:.2f}",
            f"{figures['recall@10']:.3f}",
        )
    Console().print(show)
    made_on = {"date": datetime.now(UTC).isoformat(), "machine": platform.processor(), "faiss": faiss.__version__}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(made_on | {"systems": found}, indent=2))


def _medians(search: Callable[[], RowArray]) -> float:
    search()
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        search()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _unit(vectors: np.ndarray) -> FloatArray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


if __name__ == "__main__":
    main()
