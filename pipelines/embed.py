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
from recsys.towers.clip import ClipTower

KIND, VERSION = "embeddings", 1


class EmbedConfig(BaseConfig):
    """Nothing to set yet: the tower decides the vectors. Where it runs does not change them."""


def embed(store: ArtifactStore, dataset: Artifact, tower: Artifact, runtime: Runtime) -> tuple[Artifact, bool]:
    """Encode the catalogue with a trained tower."""

    def build(work: Path) -> dict[str, Any]:
        parts = work / ".parts"
        parts.mkdir(exist_ok=True)
        catalogue = Dataset(dataset.path)
        started = time.perf_counter()
        missing = missing_slices(len(catalogue.ids), parts)
        encoded = sum(runtime.map(partial(SliceEncoder, tower.path, dataset.path, parts), missing, "Encoding items"))
        fingerprint = ClipTower.load(tower.path).fingerprint
        join_parts(catalogue, parts, fingerprint, work)
        seconds = time.perf_counter() - started
        return {"items": len(catalogue.ids), "items_per_second": encoded / seconds, "fingerprint": fingerprint}

    return store.build(KIND, VERSION, EmbedConfig(), {"dataset": dataset, "tower": tower}, build)
