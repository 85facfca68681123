"""A plan for an index that is not built yet: kind, shards, memory, recall and build time, with the arithmetic shown.

Nothing is measured here: bytes are counted, times follow from rates of one core, and recall is what a kind showed in
``benchmarks/bench_retrieval.py``. A built index is tuned and measured on its own vectors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from recsys.exceptions import ConfigError
from recsys.index.ann import LEAST_PER_LIST, SAMPLE_PER_LIST
from recsys.index.choice import GB, choose
from recsys.index.kinds import RECIPES, Kind

USABLE = 0.8  # of a machine's memory; the rest is for the system, the queries and the process
FLOATING_OPERATIONS = 60e9  # a second on one core, in matrix products
KMEANS_ROUNDS = 10  # of FAISS
GRAPH_SECONDS = 40e-6  # to link one vector of width 256 into a graph, times log2 of their number
ENCODE_SECONDS = 5e-6  # to encode and write one vector of width 256
LIMITS: dict[str, str] = {
    "exact": "1, by definition",
    "flat": "1, by definition",
    "ivf_flat": "tuned to the target; 1 when all lists are read",
    "ivf_fp16": "tuned to the target; 0.99 and more when enough lists are read",
    "ivf_sq8": "up to about 0.96 of 10: bytes blur the order of near neighbours",
    "hnsw": "tuned to the target; 0.99 and more",
    "ivf_pq": "tuned to the target; 0.99 where enough first answers are refined",
    "rabitq": "up to about 0.96 of 10: the refining bytes blur the order of near neighbours",
}


@dataclass(frozen=True)
class Footprint:
    """What one kind needs.

    Attributes:
        kind: of the index.
        arithmetic: bytes of a vector in memory, as a sum.
        memory: bytes in memory, of all vectors.
        disk: bytes of the files, the table of vectors that every generation keeps included.
        shards: machines that hold it.
    """

    kind: Literal["exact"] | Kind
    arithmetic: str
    memory: float
    disk: float
    shards: int


@dataclass(frozen=True)
class IndexPlan:
    """The chosen kind beside the others.

    Attributes:
        footprint: of the chosen kind.
        reason: for it.
        recall: that it can be expected to reach.
        steps: the arithmetic of lists and build time, a line each.
        core_hours: to build it.
        others: footprints of all kinds.
    """

    footprint: Footprint
    reason: str
    recall: str
    steps: tuple[str, ...]
    core_hours: float
    others: tuple[Footprint, ...]


def plan(items: int, width: int, memory_gb: float, recall_target: float, exact_below: int) -> IndexPlan:
    """Work out what an index over so many vectors takes.

    Args:
        items: number of vectors.
        width: of a vector.
        memory_gb: of one machine.
        recall_target: that search will be tuned to.
        exact_below: fewer vectors are compared one and all.

    Raises:
        ConfigError: a number is not positive.
    """
    for name, value in {"items": items, "width": width, "memory": memory_gb}.items():
        if value <= 0:
            raise ConfigError(f"{name} = {value:g}.", "Give a positive number.")
    usable = USABLE * memory_gb
    others = tuple(_footprint(kind, items, width, usable) for kind in ("exact", *get_args(Kind)))
    choice = choose(items, width, recall_target, usable, exact_below)
    chosen = next(footprint for footprint in others if footprint.kind == choice.kind)
    steps, seconds = _build(chosen, items, width)
    return IndexPlan(chosen, choice.reason, LIMITS[choice.kind], tuple(steps), seconds / 3600, others)


def _footprint(kind: Literal["exact"] | Kind, items: int, width: int, usable_gb: float) -> Footprint:
    table = 4 * width
    if kind == "exact":
        needed, own, arithmetic = float(table), 0.0, f"4 x {width} = {table}"
    else:
        recipe = RECIPES[kind]
        needed, own = recipe.resident_bytes(width), recipe.file_bytes(width)
        beside = f" + {recipe.vector_bytes}" if recipe.vector_bytes else ""
        arithmetic = f"{recipe.code_bytes:g} x {width}{beside} = {needed:g}"
    shards = max(1, math.ceil(items * needed / GB / usable_gb))
    return Footprint(kind, arithmetic, items * needed, items * (own + table), shards)


def _build(footprint: Footprint, items: int, width: int) -> tuple[list[str], float]:
    """Lines of arithmetic, and seconds of one core."""
    each = math.ceil(items / footprint.shards)
    parts = [f"{items:,} vectors / {footprint.shards} shards = {each:,} a shard"] if footprint.shards > 1 else []
    scale = width / 256
    if footprint.kind in ("exact", "flat"):
        return [*parts, "build: nothing to train"], items * ENCODE_SECONDS * scale
    if footprint.kind == "hnsw":
        linking = items * math.log2(max(each, 2)) * GRAPH_SECONDS * scale
        line = f"link: {items:,} x log2({each:,}) x {1e6 * GRAPH_SECONDS * scale:.1f} us = {_time(linking)}"
        return [*parts, line], linking
    lists = max(1, min(int(4 * math.sqrt(each)), each // LEAST_PER_LIST))
    sample = min(each, SAMPLE_PER_LIST * lists)
    train = footprint.shards * sample * lists * width * 2 * KMEANS_ROUNDS / FLOATING_OPERATIONS
    assign = items * lists * width * 2 / FLOATING_OPERATIONS
    encode = items * ENCODE_SECONDS * scale
    rate = f"{FLOATING_OPERATIONS / 1e9:g} Gflop/s"
    parts += [
        f"lists: 4 x sqrt({each:,}) = {lists:,}{' a shard' if footprint.shards > 1 else ''}",
        f"train: {footprint.shards} x {sample:,} sampled x {lists:,} lists x {width} x 2 x {KMEANS_ROUNDS} rounds / "
        f"{rate} = {_time(train)}",
        f"assign: {items:,} x {lists:,} lists x {width} x 2 / {rate} = {_time(assign)}",
        f"encode: {items:,} x {1e6 * ENCODE_SECONDS * scale:.2g} us = {_time(encode)}",
    ]
    return parts, train + assign + encode


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.0f} h"
