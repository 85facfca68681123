"""The feature store beside what it is made of: polars and duckdb for the join, raw LMDB and Redis for reads.

Join: 1,000,000 labels with three tables of 1,000,000 rows and 20 features, TTLs of 30, 7 and 2 days, all from Parquet;
each engine in a process of its own, which gives its memory. Reads: 500 random keys of 100,000, 20 numbers and a vector
of 256 half floats, to arrays; requests of the peers take turns, so that they share the machine's moods. Writes: a
materialisation of these rows, and synced pushes of 500. Redis runs where there is a redis-server.

    python benchmarks/bench_feature_store.py
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import redis
from rich.console import Console
from rich.table import Table

from feature_store.definitions import Entity, FeatureView, Field
from feature_store.online.base import OnlineStore
from feature_store.online.embedded import LmdbStore
from feature_store.online.remote import RedisStore
from feature_store.online.snapshot import SnapshotStore
from feature_store.records import absent, keys_of
from feature_store.service import FeatureService
from feature_store.store import FeatureStore

LABELS = ROWS = 1_000_000
KEYS, ASKED, REQUESTS, PUSHED = 100_000, 500, 600, 500
JOIN_ROUNDS = 3
START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 60
RESULTS = Path(__file__).parent / "results" / "feature_store.json"
SHAPES = {"user": (7, 30, 50_000), "item": (7, 7, 100_000), "author": (6, 2, 5_000)}  # features, TTL in days, keys

Reader = Callable[[list[str]], dict[str, np.ndarray]]


def view_of(name: str) -> FeatureView:
    features, days, _ = SHAPES[name]
    entity = Entity(name=name, key=f"{name}_id")
    fields = tuple(Field(name=f"f{number}") for number in range(features))
    return FeatureView(name=name, entities=(entity,), fields=fields, ttl=timedelta(days=days))


VIEWS = [view_of(name) for name in SHAPES]
SERVICE = FeatureService.of("benchmark", VIEWS)
SERVED = FeatureView(
    name="served",
    entities=(Entity(name="item", key="item_id"),),
    fields=(*(Field(name=f"f{n}") for n in range(20)), Field(name="vector", dtype="float16", shape=(256,))),
    ttl=timedelta(days=10_000),
)
ONE = FeatureService.of("one", [SERVED])


def random_times(random: np.random.Generator, count: int) -> pl.Series:
    microseconds = random.integers(0, DAYS * 86_400_000_000, count) + int(START.timestamp() * 1e6)
    return pl.Series("event_time", microseconds).cast(pl.Datetime("us", "UTC"))


def make_tables(folder: Path) -> None:
    random = np.random.default_rng(0)
    store = FeatureStore(folder / "home")
    store.apply(VIEWS)
    labels: dict[str, Any] = {"request_time": random_times(random, LABELS)}
    for view in VIEWS:
        keys = SHAPES[view.name][2]
        names = pl.Series([f"{view.name}-{number}" for number in range(keys)])
        labels[view.keys[0]] = names.gather(random.integers(0, keys, LABELS))
        values = {field.name: random.random(ROWS, np.float32) for field in view.fields}
        key = {view.keys[0]: names.gather(random.integers(0, keys, ROWS)), "event_time": random_times(random, ROWS)}
        rows = pl.DataFrame(key | values)
        store.write(view, rows)
        rows.sort("event_time").write_parquet(folder / f"{view.name}.parquet")
    pl.DataFrame(labels).write_parquet(folder / "labels.parquet")


def ours(folder: Path) -> pl.DataFrame:
    return FeatureStore(folder / "home").get_historical_features(pl.read_parquet(folder / "labels.parquet"), SERVICE)


def plain_polars(folder: Path) -> pl.DataFrame:
    joined = pl.scan_parquet(folder / "labels.parquet").with_row_index().sort("request_time")
    for view in VIEWS:
        renamed = {field.name: f"{view.name}__{field.name}" for field in view.fields}
        table = pl.scan_parquet(folder / f"{view.name}.parquet").rename(renamed)
        table = table.rename({"event_time": f"{view.name}__event_time"})
        joined = joined.join_asof(
            table,
            left_on="request_time",
            right_on=f"{view.name}__event_time",
            by=view.keys[0],
            tolerance=f"{SHAPES[view.name][1]}d",
            coalesce=False,
            check_sortedness=False,
        )
    return joined.sort("index").collect()


def plain_duckdb(folder: Path) -> pl.DataFrame:
    """With the TTL, and in the order of the labels."""
    duckdb.sql("set threads to 2")
    columns, joins = [], []
    for view in VIEWS:
        name, days = view.name, SHAPES[view.name][1]
        fresh = f"labels.request_time - {name}.event_time <= interval {days} days"
        columns += [f"case when {fresh} then {name}.{field.name} end as {name}__{field.name}" for field in view.fields]
        joins.append(
            f"asof left join '{folder}/{name}.parquet' as {name} on labels.{name}_id = {name}.{name}_id "
            f"and labels.request_time >= {name}.event_time"
        )
    labels = f"(select *, row_number() over () as place from '{folder}/labels.parquet') as labels"
    return duckdb.sql(f"select labels.*, {', '.join(columns)} from {labels} {' '.join(joins)} order by place").pl()


ENGINES = {"feature store": ours, "polars alone": plain_polars, "duckdb": plain_duckdb}


def engine_in_this_process(name: str, folder: Path) -> None:
    started, before = time.perf_counter(), time.process_time()
    joined = ENGINES[name](folder)
    found = {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - before,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "labels": len(joined),
    }
    values = joined.select(f"{view.name}__{field.name}" for view in VIEWS for field in view.fields).fill_nan(None)
    found["values"] = int(values.select(pl.all().count().cast(pl.Int64)).sum_horizontal()[0])
    found["sum"] = float(values.select(pl.all().cast(pl.Float64).sum()).sum_horizontal()[0])
    print(json.dumps(found))


def joins(folder: Path) -> dict[str, Any]:
    """Medians; the engines take turns, each time in a new process."""
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in ENGINES}
    for _ in range(JOIN_ROUNDS):
        for name, seen in rounds.items():
            command = [sys.executable, __file__, "--engine", name, "--folder", str(folder)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            seen.append(json.loads(done.stdout))
    found = {
        name: {figure: statistics.median(one[figure] for one in seen) for figure in seen[0]}
        for name, seen in rounds.items()
    }
    first, plain = found["feature store"], found["polars alone"]
    for name, figures in found.items():  # the same answer, not only the same question
        assert (figures["labels"], figures["values"]) == (LABELS, first["values"]), name
        assert abs(figures["sum"] / first["sum"] - 1) < 1e-9, name
        figures["ratio"] = figures["seconds"] / plain["seconds"]
        figures["cpu_ratio"] = figures["cpu_seconds"] / plain["cpu_seconds"]
    return found


def served_rows(items: list[int], random: np.random.Generator, moment: datetime) -> pl.DataFrame:
    values: dict[str, Any] = {f"f{n}": random.random(len(items), np.float32) for n in range(20)}
    vectors = random.random((len(items), 256), np.float32).astype(np.float16)
    key = {"item_id": [f"item-{item}" for item in items], "event_time": [moment] * len(items)}
    return pl.DataFrame(key | values | {"vector": pl.Series(vectors, dtype=pl.Array(pl.Float16, 256))})


def raw_lmdb(store: LmdbStore) -> Reader:
    """What the store is built on: gets, one copy, and an array for each feature."""
    table, none = store.table(SERVED), absent(SERVED).tobytes()

    def read(items: list[str]) -> dict[str, np.ndarray]:
        with table.environment.begin(table.rows, buffers=True) as transaction:
            get = transaction.get
            joined = b"".join([get(item.encode(), none) for item in items])
        records = np.frombuffer(joined, SERVED.record)
        return {field.name: records[field.name] for field in SERVED.fields}

    return read


def raw_redis(store: RedisStore) -> Reader:
    client = redis.Redis.from_url(store.url)

    def read(items: list[str]) -> dict[str, np.ndarray]:
        packed = client.mget([f"{store.prefix}:{SERVED.label}:{item}" for item in items])
        records = np.frombuffer(b"".join(packed), SERVED.record)
        return {field.name: records[field.name] for field in SERVED.fields}

    return read


def of_store(store: FeatureStore) -> Reader:
    return lambda items: store.get_online_features(ONE, {"item_id": items}).values


def latencies(readers: dict[str, Reader]) -> dict[str, dict[str, float]]:
    random = np.random.default_rng(1)
    taken: dict[str, list[float]] = {name: [] for name in readers}
    for number in range(REQUESTS + 50):
        items = [f"item-{item}" for item in random.integers(0, KEYS, ASKED)]
        for name in random.permutation(list(readers)).tolist():  # who comes later finds the keys warm
            started = time.perf_counter()
            readers[name](items)
            if number >= 50:
                taken[name].append(1000 * (time.perf_counter() - started))
    return {
        name: {"p50_ms": float(np.percentile(times, 50)), "p99_ms": float(np.percentile(times, 99))}
        for name, times in taken.items()
    }


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str | None]:
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    folder.mkdir()
    socket = folder / "redis.sock"
    command = [program, "--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", ""]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while not socket.exists():
            time.sleep(0.05)
        yield f"unix://{socket}"
    finally:
        server.terminate()
        server.wait()


def push_for_ever(folder: Path) -> None:
    """A writer beside the readers: 500 rows at a time, as fast as the disk acknowledges them."""
    store, random = FeatureStore(folder / "home", LmdbStore(folder / "online")), np.random.default_rng(2)
    while True:
        items = random.choice(KEYS, PUSHED, replace=False).tolist()
        store.push(SERVED, served_rows(items, random, datetime.now(UTC)))


def with_writer(folder: Path, readers: dict[str, Reader]) -> dict[str, dict[str, float]]:
    writer = subprocess.Popen([sys.executable, __file__, "--push", "--folder", str(folder)])
    try:
        time.sleep(3)
        return latencies(readers)
    finally:
        writer.kill()
        writer.wait()


def online(folder: Path) -> dict[str, Any]:
    random = np.random.default_rng(3)
    own = LmdbStore(folder / "online")
    store = FeatureStore(folder / "home", own)
    store.apply([SERVED])
    store.write(SERVED, served_rows(list(range(KEYS)), random, START))
    with redis_server(folder / "redis") as url:
        others: dict[str, OnlineStore] = {"snapshot": SnapshotStore(folder / "snapshot")}
        if url is not None:
            others["redis"] = RedisStore(url)
        stores = {"lmdb": store} | {name: FeatureStore(store.home, other) for name, other in others.items()}
        bulk = {}
        for name, one in stores.items():
            started = time.perf_counter()
            assert one.materialize(SERVED).stored == KEYS
            bulk[name] = KEYS / (time.perf_counter() - started)
        readers = {"raw LMDB": raw_lmdb(own)} | {name: of_store(one) for name, one in stores.items()}
        if url is not None:
            readers["raw Redis, one MGET"] = raw_redis(others["redis"])
        sample = [f"item-{number}" for number in range(0, KEYS, 997)]
        expected = store.online.get_many(SERVED, keys_of(SERVED, {"item_id": sample}))
        for name, read in readers.items():
            values = {column.split("__")[-1]: values for column, values in read(sample).items()}
            assert all((values[field.name] == expected[field.name]).all() for field in SERVED.fields), name
        reads = latencies(readers)
        beside = with_writer(folder, {name: readers[name] for name in ("raw LMDB", "lmdb")})
    pushes = {}
    for size, count in ((1, 40), (PUSHED, 40), (2000, 20), (5000, 10)):
        batches = [
            served_rows(random.choice(KEYS, size, replace=False).tolist(), random, datetime.now(UTC))
            for _ in range(count)
        ]
        started = time.perf_counter()
        for batch in batches:
            store.push(SERVED, batch)
        pushes[f"{size:,} at a time"] = size * count / (time.perf_counter() - started)
    return {
        "materialized_rows_per_second": bulk,
        "pushed_rows_per_second": pushes,
        "read_500_keys": reads,
        "read_500_keys_with_a_writer": beside,
        "lmdb_to_raw_p50": reads["lmdb"]["p50_ms"] / reads["raw LMDB"]["p50_ms"],
        "lmdb_to_raw_p99": reads["lmdb"]["p99_ms"] / reads["raw LMDB"]["p99_ms"],
        "writer_to_quiet_p50": beside["lmdb"]["p50_ms"] / reads["lmdb"]["p50_ms"],
    }


def feast(python: Path, folder: Path) -> dict[str, Any]:
    """Figures of Feast, by an interpreter that has it."""
    peer = Path(__file__).with_name("feast_peer.py")
    command = [str(python), str(peer), str(folder), json.dumps(SHAPES), str(KEYS // 10)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def show(found: dict[str, Any]) -> None:
    console = Console(width=110)
    for title, rows in found.items():
        if not isinstance(rows, dict):
            console.print(f"{title}: {rows:.2f}" if isinstance(rows, float) else f"{title}: {rows}")
            continue
        table = Table(title=title.replace("_", " "))
        first = next(iter(rows.values()))
        for column in ("", *(first if isinstance(first, dict) else ("value",))):
            table.add_column(column)
        for name, row in rows.items():
            figures = row.values() if isinstance(row, dict) else [row]
            table.add_row(name, *(f"{figure:,.3f}" if figure < 1000 else f"{figure:,.0f}" for figure in figures))
        console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", help="Run one join in this process (used by the script itself).")
    parser.add_argument("--push", action="store_true", help="Push until killed (used by the script itself).")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--feast", type=Path, help="Python of an environment that has feast[duckdb].")
    options = parser.parse_args()
    if options.engine:
        engine_in_this_process(options.engine, options.folder)
    elif options.push:
        push_for_ever(options.folder)
    else:
        with tempfile.TemporaryDirectory() as name:
            make_tables(Path(name))
            found = {"join": joins(Path(name))} | online(Path(name) / "served")
            if options.feast:
                found |= {f"feast_{part}": figures for part, figures in feast(options.feast, Path(name)).items()}
        show(found)
        made_on = {"date": datetime.now(UTC).isoformat(), "machine": platform.machine(), "cores": os.cpu_count()}
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(made_on | {"polars": pl.__version__} | found, indent=2) + "\n")


if __name__ == "__main__":
    main()
