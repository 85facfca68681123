"""Job: an index generation over the fused item vectors, measured against exact search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recsys.artifacts import Artifact, ArtifactStore
from recsys.embeddings.encode import open_tables
from recsys.index.generation import IndexConfig, build_generation

KIND, VERSION = "index", 1


def build_index(store: ArtifactStore, embeddings: Artifact, config: IndexConfig) -> tuple[Artifact, bool]:
    """Index the fused read-out: items, texts and pictures are all searched there."""

    def build(work: Path) -> dict[str, Any]:
        return build_generation(open_tables(embeddings.path)["fused"], config, work)

    return store.build(KIND, VERSION, config, {"embeddings": embeddings}, build)
