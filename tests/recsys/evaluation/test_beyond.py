from __future__ import annotations

import numpy as np
import pytest

from recsys.evaluation import beyond
from recsys.evaluation.beyond import coverage, intra_list_diversity
from recsys.types import NO_ROW


def test_coverage_counts_each_item_once_and_no_padding() -> None:
    assert coverage(np.int32([[0, 1, NO_ROW], [1, 3, NO_ROW]]), 10) == pytest.approx(0.3)


def test_diversity_of_known_lists() -> None:
    vectors = np.float32([[1, 0], [0, 1], [-1, 0], [1, 0], [0, 0]])
    lists = np.int32([[0, 3, NO_ROW], [0, 1, NO_ROW], [0, 2, 1], [0, 4, NO_ROW], [0, NO_ROW, NO_ROW]])
    got = intra_list_diversity(lists, vectors)
    assert got[:4] == pytest.approx([0, 1, 4 / 3, 1])
    assert np.isnan(got[4])


def test_blocks_agree_with_pairs_counted_one_by_one() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((50, 6))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    lists = generator.integers(0, 50, (beyond.LISTS_PER_BLOCK + 3, 4)).astype(np.int32)
    got = intra_list_diversity(lists, vectors)
    for request in (0, 1, beyond.LISTS_PER_BLOCK, beyond.LISTS_PER_BLOCK + 2):
        chosen = vectors[lists[request]]
        pairs = [chosen[a] @ chosen[b] for a in range(4) for b in range(a)]
        assert got[request] == pytest.approx(1 - np.mean(pairs), abs=1e-6)
