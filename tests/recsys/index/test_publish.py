from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import ArtifactError
from recsys.index.ann import FaissConfig
from recsys.index.generation import IndexConfig, build_generation
from recsys.index.publish import PublishConfig, validate_generation
from recsys.types import IdMap

NARROW = IndexConfig(kind="faiss", faiss=FaissConfig(nlist=60, nprobe=1))


def table_of(rows: int, seed: int = 0, fingerprint: str = "tower-a") -> EmbeddingTable:
    vectors = np.random.default_rng(seed).standard_normal((rows, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return EmbeddingTable(IdMap.of(f"i{row}" for row in range(rows)), vectors, fingerprint)


@pytest.mark.parametrize("rows", [0, 1, 900])
def test_a_sound_generation_passes(tmp_path: Path, rows: int) -> None:
    table = EmbeddingTable(IdMap.of([]), np.zeros((0, 16), np.float32), "tower-a") if rows == 0 else table_of(rows)
    build_generation(table, IndexConfig(), tmp_path)
    validate_generation(tmp_path, table, PublishConfig(), in_use=2 * rows)


def test_recall_is_measured_on_the_files(tmp_path: Path) -> None:
    table = table_of(3000)
    metrics = build_generation(table, NARROW, tmp_path)
    assert metrics["recall@10"] < 0.5
    with pytest.raises(ArtifactError, match=r"not put to use: its recall@10 is 0\.\d+, below 0\.8"):
        validate_generation(tmp_path, table, PublishConfig())
    validate_generation(tmp_path, table, PublishConfig(least_recall=0.1))
    build_generation(table_of(3000, seed=1), IndexConfig(kind="faiss", faiss=FaissConfig(kind="flat")), tmp_path / "b")
    (tmp_path / "b/index.faiss").replace(tmp_path / "index.faiss")  # an index of other vectors
    with pytest.raises(ArtifactError, match=r"recall@10 is 0\.0"):
        validate_generation(tmp_path, table, PublishConfig(least_recall=0.1))


def test_everything_that_is_wrong_is_named(tmp_path: Path) -> None:
    build_generation(table_of(100), IndexConfig(), tmp_path)
    with pytest.raises(ArtifactError) as caught:
        validate_generation(tmp_path, table_of(90, fingerprint="tower-b"), PublishConfig(), in_use=181)
    for part in (
        "of tower tower-a, not tower-b",
        "holds 100 rows of other items than the 90",
        "90 items, the one in use 181",
    ):
        assert part in str(caught.value)
