"""A new generation built, published and swapped under load: failed and mixed answers, and what users feel of it.

1,000,000 items of 64 numbers in memory, found by IVF. For 60 seconds, or longer until the swap is over, queries arrive
at a fixed rate, and each is timed from the moment it should have been asked. Meanwhile another process, of lower
rank, builds a generation of another tower (the vectors rotated, the items in another order), validates and publishes
it; the server verifies, opens, warms it, goes over and lets go of the old one. Every answer is checked
against the vectors and ids of the generation that it says it comes from.

    python benchmarks/bench_swap.py
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table

from recsys.artifacts import ArtifactStore
from recsys.config import BaseConfig
from recsys.embeddings.table import EmbeddingTable
from recsys.index.ann import FaissConfig
from recsys.index.generation import IndexConfig, build_generation
from recsys.index.handle import IndexHandle
from recsys.index.publish import PublishConfig, validate_generation
from recsys.types import FloatArray, IdMap

ITEMS, WIDTH, CLUSTERS, K = 1_000_000, 64, 5000, 10
QUERIES_PER_SECOND, SECONDS, QUIET = 200, 60.0, 15.0
RELEASE = 2.0  # seconds after the swap in which the old generation's memory is given back
DURING = "during (all three)"
SERVER_NICENESS, BUILDER_NICENESS = -10, 5  # a shared machine's other work stands at 0
INDEX = IndexConfig(kind="faiss", faiss=FaissConfig(nlist=1024, nprobe=16))
RESULTS = Path(__file__).parent / "results" / "swap.json"


class Edition(BaseConfig):
    """Which of the two generations."""

    number: int
    items: int


def vectors_of(number: int, items: int) -> FloatArray:
    """Clustered unit vectors; edition 1 is edition 0 seen by another tower: rotated, and in reverse order."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((CLUSTERS, WIDTH), np.float32)
    vectors = centres[random.integers(CLUSTERS, size=items)]
    vectors += 0.5 * random.standard_normal((items, WIDTH), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    if number == 1:
        turn, _ = np.linalg.qr(random.standard_normal((WIDTH, WIDTH)))
        vectors = vectors[::-1] @ turn.astype(np.float32)
    return np.ascontiguousarray(vectors)


def id_of(number: int, items: int, row: int) -> str:
    return f"note-{items - 1 - row if number == 1 else row:08d}"


def publish(home: Path, number: int, items: int) -> None:
    ids = IdMap.of(id_of(number, items, row) for row in range(items))
    table = EmbeddingTable(ids, vectors_of(number, items), f"tower-{number}")

    def build(work: Path) -> dict[str, Any]:
        metrics = build_generation(table, INDEX, work)
        validate_generation(work, table, PublishConfig(), in_use=items)
        return dict(metrics)

    ArtifactStore(home).build("index", 1, Edition(number=number, items=items), {}, build)


def builder_at_rest(home: Path, number: int, items: int) -> subprocess.Popen[bytes]:
    """A process that publishes when it is told to, on one thread and at a lower rank."""
    command = [sys.executable, __file__, "--publish", str(home), str(number), str(items)]
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=alone, start_new_session=True)


def at_rank(niceness: int) -> None:
    """Of this process from now on.

    Linux shares processors out among sessions first, and niceness counts within one. So the builder has a session of
    its own, and sessions have ranks too; what it takes in the server's session would be taken from the server.
    """
    with contextlib.suppress(OSError):  # only root may go first, and a shell's foreground job stays in its session
        if os.getsid(0) != os.getpid():
            os.setsid()
        Path("/proc/self/autogroup").write_text(str(niceness))
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, niceness)


@dataclass
class Load:
    """Queries at a fixed rate from one client, each checked."""

    handle: IndexHandle
    editions: dict[str, int]  # key -> number
    vectors: list[FloatArray]
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, seconds: float) -> None:
        """Ask for so long, and on until ``stop`` is set; fills ``times`` with (due at, seconds to the answer)."""
        faiss.omp_set_num_threads(1)  # holds for the calling thread
        random = np.random.default_rng(7)
        self.times: list[tuple[float, float]] = []
        self.failed, self.mixed, self.from_edition, self.missed = 0, 0, [0, 0], 0
        self.began = time.perf_counter()
        while len(self.times) < seconds * QUERIES_PER_SECOND or not self.stop.is_set():
            due = self.began + len(self.times) / QUERIES_PER_SECOND
            row = int(random.integers(len(self.vectors[0])))
            time.sleep(max(0.0, due - time.perf_counter()))
            try:
                served = self.handle.served
                number = self.editions[served.key]
                query = self.vectors[number][row : row + 1]
                found = served.search(query, K, f"tower-{number}")
            except Exception as error:
                self.failed += 1
                sys.stderr.write(f"failed: {error}\n")
                continue
            finally:
                self.times.append((due - self.began, time.perf_counter() - due))
            self._check(found, number, row, query)

    def _check(self, found: Any, number: int, row: int, query: FloatArray) -> None:
        mine = self.editions[found.key] == number
        products = self.vectors[number][found.rows[0]] @ query[0]
        mine &= np.allclose(products, found.scores[0], atol=1e-5)
        mine &= found.ids.externals(found.rows[0]) == [
            id_of(number, len(self.vectors[0]), int(other)) for other in found.rows[0]
        ]
        self.mixed += int(not mine)
        self.missed += int(found.rows[0, 0] != row)
        self.from_edition[number] += 1


def measured(home: Path, items: int, seconds: float) -> dict[str, Any]:
    publish(home, 0, items)
    store = ArtifactStore(home)
    handle = IndexHandle(store, "index")
    numbers = {store.key_of("index", 1, Edition(number=number, items=items), {}): number for number in (0, 1)}
    load = Load(handle, numbers, [vectors_of(number, items) for number in (0, 1)])
    builder = builder_at_rest(home, 1, items)
    load.stop.set()
    load.run(3)  # warms up
    load.stop.clear()
    gc.collect()
    gc.freeze()  # as a server does before it answers: what it has loaded by now is never looked through again
    client = threading.Thread(target=load.run, args=(seconds,))
    client.start()
    time.sleep(QUIET)
    marks = {"build": time.perf_counter()}
    builder.communicate(b"go")
    if builder.returncode:
        raise RuntimeError(f"The builder ended with {builder.returncode}.")
    marks["swap"] = time.perf_counter()
    handle.refresh()
    marks["after"] = time.perf_counter()
    time.sleep(QUIET)
    load.stop.set()
    client.join()
    since = {name: mark - load.began for name, mark in marks.items()}
    windows = {
        "before": (0.0, since["build"]),
        "building": (since["build"], since["swap"]),
        "swapping": (since["swap"], since["after"]),
        "releasing the old one": (since["after"], since["after"] + RELEASE),
        "after": (since["after"] + RELEASE, np.inf),
        DURING: (since["build"], since["after"] + RELEASE),
    }
    times = np.array(load.times)
    return {
        "queries": len(times),
        "answered_by": {"old": load.from_edition[0], "new": load.from_edition[1]},
        "failed": load.failed,
        "mixed": load.mixed,
        "own_item_not_first": load.missed,
        "windows": {name: _latency(times, *bounds) for name, bounds in windows.items()},
    }


def _latency(times: Any, start: float, end: float) -> dict[str, float]:
    inside = 1000 * times[(times[:, 0] >= start) & (times[:, 0] < end), 1]
    seconds = min(end, times[-1, 0]) - start
    if not len(inside):
        return {"seconds": seconds, "queries": 0}
    p50, p99 = np.percentile(inside, [50, 99])
    figures = {"p50_ms": p50, "p99_ms": p99, "max_ms": inside.max()}
    return {"seconds": seconds, "queries": len(inside)} | {name: float(value) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--publish", nargs=3, metavar=("HOME", "EDITION", "ITEMS"), help="be the builder")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    if arguments.publish:
        at_rank(BUILDER_NICENESS)
        sys.stdin.readline()
        home, number, items = arguments.publish
        publish(Path(home), int(number), int(items))
        return
    at_rank(SERVER_NICENESS)
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), arguments.items, arguments.seconds)
    before, during = found["windows"]["before"], found["windows"][DURING]
    found["p99_during_to_before"] = during["p99_ms"] / before["p99_ms"]
    show(found, arguments.items)
    made_on = {"date": datetime.now(UTC).isoformat(), "machine": platform.machine(), "cores": os.cpu_count()}
    about = made_on | {"faiss": faiss.__version__, "items": arguments.items, "queries_per_second": QUERIES_PER_SECOND}
    arguments.results.parent.mkdir(exist_ok=True)
    arguments.results.write_text(json.dumps(about | found, indent=2) + "\n")


def show(found: dict[str, Any], items: int) -> None:
    table = Table(title=f"{items:,} x {WIDTH}, {QUERIES_PER_SECOND} queries a second, milliseconds to the answer")
    for column in ("", "seconds", "queries", "p50", "p99", "max"):
        table.add_column(column)
    for name, of in found["windows"].items():
        latency = [f"{of[key]:.2f}" for key in ("p50_ms", "p99_ms", "max_ms")] if of["queries"] else []
        table.add_row(name, f"{of['seconds']:.1f}", f"{of['queries']:,}", *latency)
    console = Console(width=120)
    console.print(table)
    console.print(
        f"{found['queries']:,} queries: {found['failed']} failed, {found['mixed']} mixed; {found['answered_by']}; "
        f"p99 during / before {found['p99_during_to_before']:.2f}"
    )


if __name__ == "__main__":
    main()
