from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import ArtifactError, ConfigError
from recsys.index.ann import FaissConfig, FaissIndex
from recsys.index.exact import ExactIndex
from recsys.types import IdMap


@pytest.fixture(scope="module")
def clustered() -> EmbeddingTable:
    """2,000 vectors around 40 centres; every tenth item has no vector."""
    generator = np.random.default_rng(3)
    centres = generator.standard_normal((40, 16))
    vectors = centres[generator.integers(0, 40, 2000)] + generator.standard_normal((2000, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    vectors[::10] = 0
    return EmbeddingTable(IdMap.of(f"i{row}" for row in range(2000)), vectors, "tower")


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_saved_and_mapped_index_answers_as_before(clustered: EmbeddingTable, tmp_path: Path, kind: str) -> None:
    built = FaissIndex.build(clustered, FaissConfig(kind=kind))
    built.save(tmp_path / "index.faiss")
    opened = FaissIndex.open(tmp_path / "index.faiss", len(clustered.ids))
    queries = clustered.vectors[1:100:10]
    for before, after in zip(built.search(queries, 20), opened.search(queries, 20), strict=True):
        np.testing.assert_array_equal(before, after)
    assert len(opened) == 2000


def test_same_seed_same_file_another_seed_another(clustered: EmbeddingTable, tmp_path: Path) -> None:
    files = []
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        FaissIndex.build(clustered, FaissConfig(seed=seed)).save(tmp_path / name)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_more_probes_find_more_and_all_probes_find_everything(clustered: EmbeddingTable) -> None:
    queries = clustered.vectors[1:2000:10]
    truth, _ = ExactIndex(clustered).search(queries, 10)

    def recall(nprobe: int) -> float:
        found, _ = FaissIndex.build(clustered, FaissConfig(nlist=40, nprobe=nprobe)).search(queries, 10)
        return float((found[:, :, None] == truth[:, None, :]).any(axis=1).mean())

    one, eight, every = recall(1), recall(8), recall(40)
    assert 0.3 < one < eight < 1
    assert eight > 0.9
    assert every == 1


def test_zero_vectors_are_never_found(clustered: EmbeddingTable) -> None:
    found, _ = FaissIndex.build(clustered, FaissConfig(nlist=8, nprobe=8)).search(clustered.vectors[1:4], 2000)
    assert np.sort(found[0])[200:].tolist() == [row for row in range(2000) if row % 10]


def test_lists_are_four_root_n_unless_they_would_be_too_short(clustered: EmbeddingTable) -> None:
    index = FaissIndex.build(clustered, FaissConfig())
    assert index._index.nlist == 1800 // 39
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((30_000, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    large = EmbeddingTable(IdMap.of(map(str, range(30_000))), vectors, "tower")
    assert FaissIndex.build(large, FaissConfig())._index.nlist == int(4 * 30_000**0.5)


def test_nothing_to_index_and_too_many_lists_are_refused(clustered: EmbeddingTable) -> None:
    blank = EmbeddingTable(IdMap.of(["a", "b"]), np.zeros((2, 4), np.float32), "tower")
    with pytest.raises(ArtifactError, match="None of the 2 items has a vector"):
        FaissIndex.build(blank, FaissConfig())
    with pytest.raises(ConfigError, match="nlist = 1801 exceeds the 1800 vectors"):
        FaissIndex.build(clustered, FaissConfig(nlist=1801))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no index file .*gone\.faiss"):
        FaissIndex.open(tmp_path / "gone.faiss", 3)
