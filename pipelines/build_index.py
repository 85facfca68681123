"""Job: an index generation over the fused item vectors, tuned, measured, and put to use if it is sound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recsys.artifacts import Artifact, ArtifactStore
from recsys.embeddings.encode import open_tables
from recsys.evaluation.plots import tuning_curve
from recsys.index.generation import GENERATION_FILE, IndexConfig, build_generation
from recsys.index.publish import PublishConfig, validate_generation
from recsys.index.tuning import Tuning

KIND, VERSION = "index", 2
CURVE = "tuning.png"


def build_index(
    store: ArtifactStore, embeddings: Artifact, config: IndexConfig, bounds: PublishConfig | None = None
) -> tuple[Artifact, bool]:
    """Index the fused read-out: items, texts and pictures are all searched there.

    The metrics say the kind and the reason for it and, where search was tuned, the curve, which is also drawn.

    Raises:
        ArtifactError: the generation does not hold the bounds; the one in use stays.
    """
    in_use = store.current(KIND).manifest.metrics["rows"] if store.used_keys(KIND) else 0

    def build(work: Path) -> dict[str, Any]:
        table = open_tables(embeddings.path)["fused"]
        metrics: dict[str, Any] = dict(build_generation(table, config, work))
        validate_generation(work, table, bounds or PublishConfig(), in_use)
        made = json.loads((work / GENERATION_FILE).read_text())
        metrics |= {name: made[name] for name in ("kind", "reason", "tuning") if name in made}
        if "tuning" in made:
            (work / CURVE).write_bytes(tuning_curve(Tuning.model_validate(made["tuning"])))
        return metrics

    return store.build(KIND, VERSION, config, {"embeddings": embeddings}, build)


def told(index: Artifact) -> str:
    """What was built, why, and how well it searches: a line each."""
    metrics = index.manifest.metrics
    figures = " ".join(f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, int | float))
    lines = [metrics["reason"], figures]
    if "tuning" in metrics:
        lines.append(f"{Tuning.model_validate(metrics['tuning'])}: {index.path / CURVE}")
    return "\n".join(lines)
