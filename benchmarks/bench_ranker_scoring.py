"""Scoring the candidates of one request: our layout of the trees beside LightGBM's `predict` and compiled peers.

500 candidates of 60 features, 500 trees grown by LambdaRank on generated preferences, one thread. The systems take
turns, so a busy machine is busy for all; "differs" is the largest difference to `predict` over the scores' spread,
holes (NaN) in the features included. "ready" is the time from a trained booster to the first score; for ours, in the
first row of a process, the loop that all models share is compiled in it or read from disk.

    python benchmarks/bench_ranker_scoring.py        # beside predict; with a peer: pip install onnxmltools onnxruntime
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from small_clip import made_on, version_of

from recsys.ranking.tree_scorer import TreeScorer

CANDIDATES, FEATURES, TREES = 500, 60, 500
GROUPS, PER_GROUP = 1000, 20
RESULTS = Path(__file__).parent / "results" / "ranker_scoring.json"
PREDICT = "Booster.predict"
PEERS = ("onnxruntime", "onnxmltools")

Scorer = Callable[[np.ndarray], np.ndarray]


def examples(n: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    features = generator.standard_normal((n, FEATURES)).astype(np.float32)
    features[generator.random(n) < 0.2, FEATURES // 2 :] = np.nan  # as of an item that nobody has met
    return features


def grown(leaves: int) -> lightgbm.Booster:
    features = examples(GROUPS * PER_GROUP, 0)
    noise = np.random.default_rng(1).standard_normal(len(features))
    wanted = features[:, :10].sum(axis=1) + features[:, 0] * features[:, 1] + np.nan_to_num(features[:, -1]) + noise
    parameters = {
        "objective": "lambdarank",
        "num_leaves": leaves,
        "learning_rate": 0.05,
        "feature_fraction": 0.7,
        "num_threads": 1,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(features, label=np.digitize(wanted, [1, 4]), group=np.full(GROUPS, PER_GROUP))
    return lightgbm.train(parameters, data, TREES)


def ours(booster: lightgbm.Booster) -> Scorer:
    scorer = TreeScorer.of(booster)
    assert scorer is not None
    return scorer.score


def onnx(booster: lightgbm.Booster) -> Scorer:
    tools, runtime = importlib.import_module("onnxmltools"), importlib.import_module("onnxruntime")
    types = importlib.import_module("onnxmltools.convert.common.data_types")
    model = tools.convert_lightgbm(booster, initial_types=[("x", types.FloatTensorType([None, FEATURES]))])
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(model.SerializeToString(), options)
    return lambda features: session.run(None, {"x": features})[0].ravel()


def measured(booster: lightgbm.Booster, ways: Mapping[str, Callable[[lightgbm.Booster], Scorer]], rounds: int) -> Any:
    features = examples(CANDIDATES, 2)
    expected = booster.predict(features, num_threads=1)
    scorers: dict[str, Scorer] = {}
    found: dict[str, dict[str, Any]] = {}
    for name, make in ways.items():
        started = time.perf_counter()
        try:
            scorers[name] = make(booster)
            scores = scorers[name](features)
        except Exception as error:  # a peer that refuses this model is a finding too
            found[name] = {"refused": f"{type(error).__name__}: {error}"[:200]}
            scorers.pop(name, None)
            continue
        ready = time.perf_counter() - started
        found[name] = {"ready_s": ready, "differs": float(np.abs(scores - expected).max() / np.ptp(expected))}
    taken: dict[str, list[float]] = {name: [] for name in scorers}
    for _ in range(rounds):
        for name, scorer in scorers.items():
            started = time.perf_counter()
            scorer(features)
            taken[name].append(1e3 * (time.perf_counter() - started))
    base = float(np.median(taken[PREDICT]))
    for name, times in taken.items():
        p50, p99 = (float(value) for value in np.percentile(times, [50, 99]))
        found[name] |= {"p50_ms": p50, "p99_ms": p99, "fastest_ms": min(times), "times_predict": base / p50}
    return found


def show(leaves: int, found: Mapping[str, Mapping[str, Any]]) -> None:
    table = Table(title=f"{CANDIDATES} candidates x {FEATURES} features, {TREES} trees of {leaves} leaves, one thread")
    for column in ("", "p50 ms", "p99 ms", "fastest ms", "x predict", "ready s", "differs"):
        table.add_column(column)
    for name, row in found.items():
        if "refused" in row:
            table.add_row(name, row["refused"])
            continue
        figures = (f"{row[key]:.2f}" for key in ("p50_ms", "p99_ms", "fastest_ms", "times_predict", "ready_s"))
        table.add_row(name, *figures, f"{row['differs']:.1e}")
    Console(width=160).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leaves", type=int, nargs="+", default=[31, 63])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ways: dict[str, Callable[[lightgbm.Booster], Scorer]] = {
        PREDICT: lambda booster: lambda features: booster.predict(features, num_threads=1),
        "ours": ours,
    }
    if version_of("onnxmltools") and version_of("onnxruntime"):
        ways["ONNX runtime"] = onnx
    results: dict[str, Any] = made_on(("lightgbm", "numba", "numpy", *PEERS)) | {
        "candidates": CANDIDATES,
        "features": FEATURES,
        "trees": TREES,
        "rounds": arguments.rounds,
        "leaves": {},
    }
    for leaves in arguments.leaves:
        results["leaves"][leaves] = measured(grown(leaves), ways, arguments.rounds)
        show(leaves, results["leaves"][leaves])
    arguments.results.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
