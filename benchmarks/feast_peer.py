"""Feast on the same join and the same reads; run by ``bench_feature_store.py --feast PYTHON``, not by hand.

Needs ``pip install feast[duckdb]`` in an environment of its own. Takes the folder of the benchmark and prints JSON.
Its online store is sqlite, filled with a tenth of the keys, since it takes a second for a thousand rows.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Array, Float32

ASKED, REQUESTS = 500, 20


def main() -> None:
    folder, shapes, keys = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
    config = RepoConfig(
        project="benchmark",
        provider="local",
        registry=str(folder / "feast.db"),
        offline_store={"type": "duckdb"},
        online_store={"type": "sqlite", "path": str(folder / "feast-online.db")},
        entity_key_serialization_version=3,
    )
    store, features = FeatureStore(config=config), []
    for name, (count, days, _) in shapes.items():
        entity = Entity(name=name, join_keys=[f"{name}_id"], value_type=ValueType.STRING)
        view = FeatureView(
            name=name,
            entities=[entity],
            ttl=timedelta(days=days),
            schema=[Field(name=f"f{number}", dtype=Float32) for number in range(count)],
            source=FileSource(path=str(folder / f"{name}.parquet"), timestamp_field="event_time"),
        )
        store.apply([entity, view])
        features += [f"{name}:f{number}" for number in range(count)]
    item = Entity(name="served_item", join_keys=["item_id"], value_type=ValueType.STRING)
    numbers = [Field(name=f"f{number}", dtype=Float32) for number in range(20)]
    served = FeatureView(
        name="served",
        entities=[item],
        schema=[*numbers, Field(name="vector", dtype=Array(Float32))],
        source=FileSource(path=str(folder / "item.parquet"), timestamp_field="event_time"),
    )
    store.apply([item, served])

    labels = pd.read_parquet(folder / "labels.parquet").rename(columns={"request_time": "event_timestamp"})
    started = time.perf_counter()
    joined = store.get_historical_features(labels, features, full_feature_names=True).to_arrow()
    join = {
        "seconds": time.perf_counter() - started,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "labels": joined.num_rows,
    }

    random = np.random.default_rng(3)
    frame = pd.DataFrame(random.random((keys, 20), np.float32), columns=[f"f{number}" for number in range(20)])
    frame["item_id"] = [f"item-{number}" for number in range(keys)]
    frame["event_time"] = pd.Timestamp.now(tz="UTC")
    frame["vector"] = list(random.random((keys, 256), np.float32))
    started = time.perf_counter()
    store.write_to_online_store("served", frame)
    written = keys / (time.perf_counter() - started)
    names = [f"served:{field.name}" for field in served.schema if field.name != "item_id"]
    taken = []
    for _ in range(REQUESTS):
        rows = [{"item_id": f"item-{number}"} for number in random.integers(0, keys, ASKED)]
        started = time.perf_counter()
        answer = store.get_online_features(names, entity_rows=rows).to_dict()
        _ = {name: np.array(values) for name, values in answer.items()}
        taken.append(1000 * (time.perf_counter() - started))
    reads = {"p50_ms": float(np.percentile(taken, 50)), "p99_ms": float(np.percentile(taken, 99))}
    print("\n" + json.dumps({"join": join, "read": reads, "rows_per_second": written}))


if __name__ == "__main__":
    main()
