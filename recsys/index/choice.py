"""What ``auto`` builds, and why: by count, width, memory and recall target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from recsys.index.kinds import RECIPES, Kind

GB = 1e9
GRAPH_FROM = 0.99  # recall target from which a graph is quicker than inverted lists


@dataclass(frozen=True)
class Choice:
    """A kind of index and the reason for it."""

    kind: Literal["exact"] | Kind
    reason: str


def choose(rows: int, width: int, recall_target: float, memory_gb: float | None, exact_below: int) -> Choice:
    """The kind that should be quickest, of those whose resident part fits in memory.

    Args:
        rows: vectors.
        width: of a vector.
        recall_target: that search will be tuned to.
        memory_gb: for the index; ``None`` sets no bound.
        exact_below: fewer vectors are compared one and all.
    """
    size = f"{rows:,} vectors of width {width}"
    if rows < exact_below:
        return Choice("exact", f"{size}: exact search, quick enough below {exact_below:,}")
    by_speed: list[Kind] = ["ivf_fp16", "ivf_pq", "rabitq"]
    why = {
        "ivf_fp16": "half floats in inverted lists, the quickest at usual recall",
        "ivf_pq": "4-bit codes in inverted lists; the half floats that refine them may stay on disk",
        "rabitq": "one bit a dimension in inverted lists; the bytes that refine them may stay on disk",
        "hnsw": f"a graph, the quickest from recall {GRAPH_FROM:g} on",
    }
    if recall_target >= GRAPH_FROM:
        by_speed.insert(0, "hnsw")
    passed: list[str] = []
    for kind in by_speed:
        need = rows * RECIPES[kind].resident_bytes(width) / GB
        if memory_gb is None or need <= memory_gb:
            too_large = f"; {', '.join(passed)} would not fit in {memory_gb:g} GB" if passed else ""
            return Choice(kind, f"{size}, recall {recall_target:g}: {kind}, {why[kind]} ({_gb(need)}){too_large}")
        passed.append(f"{kind} ({_gb(need)})")
    least = min(by_speed, key=lambda kind: RECIPES[kind].resident_bytes(width))
    smallest = _gb(rows * RECIPES[least].resident_bytes(width) / GB)
    return Choice(
        least,
        f"{size}, recall {recall_target:g}: {least}, the smallest, though its {smallest} exceed {memory_gb:g} GB: "
        "split it over more machines (`recsys index plan`)",
    )


def _gb(gigabytes: float) -> str:
    return f"{gigabytes:.1f} GB" if gigabytes >= 1 else f"{1000 * gigabytes:.0f} MB"
