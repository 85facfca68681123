from __future__ import annotations

import numpy as np
import pytest

from recsys.embeddings.table import EmbeddingTable
from recsys.index.ann import FaissConfig, FaissIndex
from recsys.index.exact import ExactIndex
from recsys.index.kinds import Effort
from recsys.index.recall import recall, true_scores, without_self
from recsys.index.tuning import Tuning, breadths, tune
from recsys.types import IdMap


@pytest.fixture(scope="module")
def table() -> EmbeddingTable:
    vectors = np.random.default_rng(2).standard_normal((4000, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return EmbeddingTable(IdMap.of(map(str, range(4000))), vectors, "tower")


ROWS = np.arange(0, 4000, 40, dtype=np.int32)


def tuned(table: EmbeddingTable, config: FaissConfig, target: float) -> Tuning:
    return tune(FaissIndex.build(table, config), ExactIndex(table), table.vectors, ROWS, 10, target)


def test_the_smallest_breadth_that_reaches_the_target_is_chosen(table: EmbeddingTable) -> None:
    config = FaissConfig(nlist=60)
    tuning = tuned(table, config, 0.9)
    assert tuning.met
    assert [point.breadth for point in tuning.points] == sorted({point.breadth for point in tuning.points})
    assert [point.recall >= 0.9 for point in tuning.points] == [False] * (len(tuning.points) - 1) + [True]
    assert tuning.chosen == tuning.points[-1]
    index = FaissIndex.build(table, config).with_effort(Effort(tuning.chosen.breadth))
    found, _ = index.search(table.vectors[ROWS], 11)
    truth = without_self(*ExactIndex(table).search(table.vectors[ROWS], 11), ROWS)
    again = recall(without_self(found, true_scores(table.vectors, table.vectors[ROWS], found), ROWS), truth)
    assert again == pytest.approx(tuning.chosen.recall)
    assert str(tuning).startswith(f"nprobe {tuning.chosen.breadth} reaches recall@10 {again:.3f} (target 0.9) in ")


def test_a_target_beyond_reach_is_said_to_be_so_with_the_best_there_is(table: EmbeddingTable) -> None:
    tuning = tuned(table, FaissConfig(kind="ivf_sq8", nlist=60), 1.0)
    assert not tuning.met
    assert tuning.chosen.recall == max(point.recall for point in tuning.points) > 0.9
    assert "is the best there is: it reaches only recall@10" in str(tuning)


def test_kinds_that_refine_are_tuned_in_both(table: EmbeddingTable) -> None:
    tuning = tuned(table, FaissConfig(kind="ivf_pq", nlist=60), 0.9)
    assert len({point.refine for point in tuning.points}) == 4
    good = [point for point in tuning.points if point.recall >= 0.9]
    assert tuning.chosen.milliseconds == min(point.milliseconds for point in good)
    assert "k refined reaches" in str(tuning)


def test_breadths_grow_by_a_third_to_a_half_up_to_all(table: EmbeddingTable) -> None:
    lists = FaissIndex.build(table, FaissConfig(nlist=60))
    assert list(breadths(lists)) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 60]
    graph = FaissIndex.build(table, FaissConfig(kind="hnsw"))
    assert list(breadths(graph))[:4] == [16, 24, 32, 48]
    assert list(breadths(graph))[-1] == 4000
    assert list(breadths(FaissIndex.build(table, FaissConfig(kind="flat")))) == [0]
