"""Job: vectors of every item, fused, by text alone and by picture alone."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.runtime import Runtime
from recsys.artifacts import Artifact, ArtifactStore
from recsys.config import BaseConfig
from recsys.data.dataset import Dataset
from recsys.embeddings.encode import SliceEncoder, join_parts, missing_slices
from recsys.towers.families import open_tower
from recsys.towers.tower import Tower

KIND, VERSION = "embeddings", 3


class EmbedConfig(BaseConfig):
    """The tower decides the vectors, where it runs does not change them."""

    width: int | None = None  # of the vectors, one that the tower was trained for; default: all it has


def embed(
    store: ArtifactStore, dataset: Artifact, tower: Artifact, runtime: Runtime, config: EmbedConfig
) -> tuple[Artifact, bool]:
    """Encode the catalogue with a trained tower."""

    def build(work: Path) -> dict[str, Any]:
        parts = work / ".parts"
        parts.mkdir(exist_ok=True)
        catalogue = Dataset(dataset.path)
        started = time.perf_counter()
        missing = missing_slices(len(catalogue.ids), parts)
        fingerprint = open_tower(tower.path, config.width).fingerprint
        make_worker = partial(SliceEncoder, tower.path, dataset.path, parts, config.width)
        encoded = sum(runtime.map(make_worker, missing, "Encoding items"))
        join_parts(catalogue, parts, fingerprint, work)
        seconds = time.perf_counter() - started
        return {"items": len(catalogue.ids), "items_per_second": encoded / seconds, "fingerprint": fingerprint}

    return store.build(KIND, VERSION, config, {"dataset": dataset, "tower": tower}, build)


def embedding_tower(tower: Artifact, embeddings: Artifact) -> Tower:
    """The tower that made some embeddings, serving vectors of their width."""
    return open_tower(tower.path, embeddings.manifest.config["width"])
