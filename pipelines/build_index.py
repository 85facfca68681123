"""Job: an index generation over the fused item vectors, measured against exact search and put to use if it is sound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recsys.artifacts import Artifact, ArtifactStore
from recsys.embeddings.encode import open_tables
from recsys.index.generation import IndexConfig, build_generation
from recsys.index.publish import PublishConfig, validate_generation

KIND, VERSION = "index", 1


def build_index(
    store: ArtifactStore, embeddings: Artifact, config: IndexConfig, bounds: PublishConfig | None = None
) -> tuple[Artifact, bool]:
    """Index the fused read-out: items, texts and pictures are all searched there.

    Raises:
        ArtifactError: the generation does not hold the bounds; the one in use stays.
    """
    in_use = store.current(KIND).manifest.metrics["rows"] if store.used_keys(KIND) else 0

    def build(work: Path) -> dict[str, Any]:
        table = open_tables(embeddings.path)["fused"]
        metrics = build_generation(table, config, work)
        validate_generation(work, table, bounds or PublishConfig(), in_use)
        return metrics

    return store.build(KIND, VERSION, config, {"embeddings": embeddings}, build)
