from __future__ import annotations

import logging
from pathlib import Path

import faiss
import numpy as np
import pytest

from recsys.embeddings.table import EmbeddingTable
from recsys.index.ann import FaissConfig, FaissIndex
from recsys.index.exact import ExactIndex
from recsys.index.gpu import OverFetchingIndex, on_gpu
from recsys.index.selection import Selection
from recsys.types import IdMap


@pytest.fixture(scope="module")
def table() -> EmbeddingTable:
    """3,000 vectors; every 100th item has none."""
    vectors = np.random.default_rng(4).standard_normal((3000, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    vectors[::100] = 0
    return EmbeddingTable(IdMap.of(map(str, range(3000))), vectors, "tower")


def selections(queries: int) -> list[Selection | None]:
    generator = np.random.default_rng(5)
    masks = [generator.random(3000) < share for share in (0, 0.001, 0.01, 0.1, 1)]
    seen = [generator.choice(3000, size, replace=False).astype(np.int32) for size in (0, 7, 2900)]
    excluded = (seen * queries)[:queries]
    return [None, *map(Selection, masks), Selection(None, excluded), Selection(masks[3], excluded)]


@pytest.mark.parametrize("kind", ["flat", "ivf_flat"])
def test_what_the_copy_returns_is_filtered_until_k_are_found(table: EmbeddingTable, kind: str) -> None:
    """The copy is asked without any selection, as on a GPU, and may be the original itself."""
    index = FaissIndex.build(table, FaissConfig(kind=kind, nlist=10, nprobe=10))
    copied, exact = OverFetchingIndex(index.faiss_index, index), ExactIndex(table)
    queries = table.vectors[1:7]
    for selection in selections(6):
        for k in (1, 10, 3100):
            for found, truth in zip(
                copied.search(queries, k, selection), exact.search(queries, k, selection), strict=True
            ):
                np.testing.assert_allclose(found, truth, atol=1e-6)
    assert len(copied) == 3000


def test_without_a_gpu_the_index_itself_searches_and_the_log_says_so(
    table: EmbeddingTable, caplog: pytest.LogCaptureFixture
) -> None:
    if faiss.get_num_gpus() > 0:
        pytest.skip("there is a GPU")
    index = FaissIndex.build(table, FaissConfig(kind="flat"))
    with caplog.at_level(logging.WARNING):
        assert on_gpu(index) is index
    assert [record.message.split(":")[0] for record in caplog.records] == ["FAISS sees no GPU"]


@pytest.mark.gpu
@pytest.mark.skipif(faiss.get_num_gpus() == 0, reason="FAISS sees no GPU")
@pytest.mark.parametrize("kind", ["flat", "ivf_flat", "ivf_fp16", "ivf_sq8"])
def test_a_gpu_answers_as_the_cpu_does_and_saves_what_the_cpu_loads(
    table: EmbeddingTable, tmp_path: Path, kind: str
) -> None:
    index = FaissIndex.build(table, FaissConfig(kind=kind, nlist=10, nprobe=10))
    copied = on_gpu(index)
    assert isinstance(copied, OverFetchingIndex)
    index.save(tmp_path / "index.faiss")
    opened = on_gpu(FaissIndex.open(tmp_path / "index.faiss", table))
    queries = table.vectors[1:7]
    for selection in selections(6):
        truth, scores = index.search(queries, 10, selection)
        for searched in (copied, opened):
            found, products = searched.search(queries, 10, selection)
            assert (found == truth).mean() > 0.95
            np.testing.assert_allclose(products, scores, atol=0.02)
