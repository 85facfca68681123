"""Nearest neighbours: our index kinds beside FAISS itself and the peers that are installed, one thread, one run.

Clustered unit vectors. Every system gets the smallest effort that reaches recall@10 >= 0.95, without a filter and among
1% and 10% of the rows, and is then timed in turn with the others: all queries in one call, and one query at a time.
``faiss, KIND`` is the very index of ``ours, KIND`` searched by FAISS alone with the same parameters; under a filter it
has its own smallest effort, since FAISS leaves that to the caller.

    python benchmarks/bench_retrieval.py                    # 500,000 x 256; graphs take minutes each to build
    python benchmarks/bench_retrieval.py --rows 100000 --kinds ivf_fp16 --peers hnswlib

``x peer`` is the rate over that of the fastest system that is neither ours nor FAISS. Prints tables and writes
``benchmarks/results/retrieval-ROWS.json``. Trust the ratios, which are of the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import faiss
import numpy as np
import torch
from retrieval_peers import System, built
from rich.console import Console
from rich.table import Table

from recsys.embeddings.table import EmbeddingTable
from recsys.index.exact import ExactIndex
from recsys.index.kinds import Effort, Kind
from recsys.index.recall import recall, true_scores
from recsys.index.selection import Mask, Selection
from recsys.types import FloatArray, IdMap

PER_CLUSTER, NOISE = 500, 1.5
TARGET, K, DEEP = 0.95, 10, 100
QUERIES, SINGLE, WINDOWS = 500, 150, 6
SHARES = (0.01, 0.1)
PEERS = ("hnswlib", "usearch", "lancedb", "qdrant")
RESULTS = Path(__file__).parent / "results"
SLOW = 5e-3  # seconds a query: systems above are asked fewer queries


@dataclass
class Row:
    """Figures of one system under one filter (or none)."""

    system: str
    share: float
    effort: str
    recall10: float
    recall100: float | None
    queries_per_second: float
    p50_ms: float
    p99_ms: float
    build_seconds: float
    megabytes: float


def main() -> None:
    arguments = _arguments()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # peers with threads of their own too
    faiss.omp_set_num_threads(1)
    torch.set_num_threads(1)
    vectors, queries = clustered(arguments.rows, arguments.width)
    table = EmbeddingTable(IdMap.of(map(str, range(len(vectors)))), vectors, "benchmark")
    random = np.random.default_rng(1)
    masks = [random.random(len(vectors)) < share for share in SHARES]
    systems = built(table, arguments.kinds, arguments.peers, masks)
    rows = []
    for share, mask in [(1.0, None), *zip(SHARES, masks, strict=True)]:
        rows += measured(systems, table, queries, share, mask)
        show([row for row in rows if row.share == share], share, arguments)
    versions = {
        name: _version(name) for name in ("faiss-cpu", "hnswlib", "usearch", "lancedb", "qdrant-client", "numpy")
    }
    made_on = {"date": datetime.now(UTC).isoformat(), "machine": platform.processor(), "versions": versions}
    settings = {"rows": arguments.rows, "width": arguments.width, "windows": WINDOWS, "target": TARGET}
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"retrieval-{arguments.rows}.json"
    file.write_text(json.dumps(made_on | settings | {"systems": [asdict(row) for row in rows]}, indent=2))


def clustered(rows: int, width: int) -> tuple[FloatArray, FloatArray]:
    """Unit vectors around random centres, :data:`PER_CLUSTER` each, and queries around the same centres."""
    random = np.random.default_rng(0)
    centres = _unit(random.normal(size=(rows // PER_CLUSTER, width)))

    def around(count: int) -> FloatArray:
        noise = NOISE / np.sqrt(width) * random.normal(size=(count, width))
        return _unit(centres[random.integers(len(centres), size=count)] + noise)

    vectors = np.empty((rows, width), np.float32)
    for start in range(0, rows, 50_000):
        vectors[start : start + 50_000] = around(min(50_000, rows - start))
    return vectors, around(QUERIES)


def measured(
    systems: list[System], table: EmbeddingTable, queries: FloatArray, share: float, mask: Mask | None
) -> list[Row]:
    """Find every system's effort, then time all of them in turn."""
    selection = None if mask is None else Selection(mask)
    truth = ExactIndex(table).search(queries, DEEP, selection)[1]
    chosen: list[tuple[System, Any, Row, int]] = []
    for system in systems:
        if mask is not None and not system.filters:
            continue
        started = time.perf_counter()
        system.search(queries[:5], K, system.efforts[0], mask)
        count = 30 if (time.perf_counter() - started) / 5 > SLOW else len(queries)
        best: tuple[float, Any] | None = None
        for effort in system.efforts:
            found = system.search(queries[:count], K, effort, mask)
            reached = recall(true_scores(table.vectors, queries[:count], found), truth[:count, :K])
            if reached >= TARGET:
                started = time.perf_counter()
                system.search(queries[:count], K, effort, mask)
                seconds = time.perf_counter() - started
                if best is None or seconds < best[0]:
                    best = (seconds, effort)
                if not isinstance(effort, tuple) and getattr(effort, "refine", 1) == 1:
                    break
                if seconds > 2 * best[0]:
                    break
        if best is None:
            print(f"{system.name}: recall@{K} stays below {TARGET} at share {share:g}")
            continue
        effort = best[1]
        found = system.search(queries[:count], K, effort, mask)
        shallow = recall(true_scores(table.vectors, queries[:count], found), truth[:count, :K])
        found = system.search(queries[:count], DEEP, effort, mask)
        deep = recall(true_scores(table.vectors, queries[:count], found), truth[:count])
        row = Row(system.name, share, _label(effort), shallow, deep, 0, 0, 0, system.build_seconds, system.megabytes)
        chosen.append((system, effort, row, count))
    batches: dict[str, list[float]] = {row.system: [] for _, _, row, _ in chosen}
    singles: dict[str, list[float]] = {row.system: [] for _, _, row, _ in chosen}
    for window in range(WINDOWS):  # back and forth, since ours and FAISS warm the same index for each other
        for system, effort, row, count in chosen[:: 1 if window % 2 else -1]:
            batches[row.system].append(_seconds(system, queries[:count], effort, mask) / count)
            singles[row.system] += [
                _seconds(system, queries[query : query + 1], effort, mask) for query in range(min(SINGLE, count))
            ]
    for _, _, row, _ in chosen:
        row.queries_per_second = 1 / statistics.median(batches[row.system])
        row.p50_ms, row.p99_ms = (1000 * float(np.quantile(singles[row.system], at)) for at in (0.5, 0.99))
    return [row for _, _, row, _ in chosen]


def show(rows: list[Row], share: float, arguments: argparse.Namespace) -> None:
    among = "everything" if share == 1 else f"{share:.0%} of the rows"
    size = f"{arguments.rows:,} x {arguments.width}, among {among}"
    table = Table(title=f"{size}, recall@{K} >= {TARGET}, one thread, median of {WINDOWS}")
    for column in ("system", "effort", f"recall@{K} / @{DEEP}", "queries/s", "x peer", "p50 / p99 ms", "build s", "MB"):
        table.add_column(column)
    peers = [row.queries_per_second for row in rows if not row.system.startswith(("ours", "faiss"))]
    for row in sorted(rows, key=lambda row: -row.queries_per_second):
        table.add_row(
            row.system,
            row.effort,
            f"{row.recall10:.3f} / {row.recall100:.3f}",
            f"{row.queries_per_second:,.0f}",
            f"{row.queries_per_second / max(peers):.2f}" if peers else "",
            f"{row.p50_ms:.2f} / {row.p99_ms:.2f}",
            f"{row.build_seconds:.0f}",
            f"{row.megabytes:.0f}",
        )
    Console(width=140).print(table)


def _label(effort: Any) -> str:
    """Lists or nodes, and times k answers refined."""
    if isinstance(effort, Effort):
        return f"{effort.breadth}, refine {effort.refine:g}" if effort.refine > 1 else str(effort.breadth)
    return "" if effort is None else str(effort)


def _seconds(system: System, queries: FloatArray, effort: Any, mask: Mask | None) -> float:
    started = time.perf_counter()
    system.search(queries, K, effort, mask)
    return time.perf_counter() - started


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _unit(vectors: np.ndarray) -> FloatArray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--kinds", nargs="*", choices=get_args(Kind), default=list(get_args(Kind)))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    return parser.parse_args()


if __name__ == "__main__":
    main()
