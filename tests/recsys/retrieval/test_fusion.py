from __future__ import annotations

import numpy as np
import pytest

from recsys.exceptions import ConfigError
from recsys.retrieval.fusion import FUSED, reciprocal_rank_fusion
from recsys.types import NO_ROW, Candidates


def candidates(rows: list[list[int]], source: str) -> Candidates:
    array = np.array(rows, np.int32)
    return Candidates(array, np.where(array == NO_ROW, -np.inf, -np.arange(array.shape[1])).astype(np.float32), source)


def test_known_sums_of_reciprocal_ranks() -> None:
    a = candidates([[7, 3, 5], [1, NO_ROW, NO_ROW]], "a")
    b = candidates([[3, 9], [NO_ROW, NO_ROW]], "b")
    fused = reciprocal_rank_fusion([a, b], 3)
    assert fused.source == FUSED
    assert fused.rows.tolist() == [[3, 7, 9], [1, NO_ROW, NO_ROW]]
    expected = [[1 / 62 + 1 / 61, 1 / 61, 1 / 62], [1 / 61, -np.inf, -np.inf]]
    np.testing.assert_allclose(fused.scores, expected, rtol=1e-6)


def test_weights_and_constant_decide() -> None:
    a, b = candidates([[1, 2]], "a"), candidates([[2, 1]], "b")
    assert reciprocal_rank_fusion([a, b], 2).rows.tolist() == [[1, 2]]  # a tie goes to the lower row
    assert reciprocal_rank_fusion([a, b], 2, {"b": 1.5}).rows.tolist() == [[2, 1]]
    far, near = candidates([[4, 5, 6]], "a"), candidates([[7, 6]], "b")
    assert reciprocal_rank_fusion([far, near], 1).rows.tolist() == [[6]]
    assert reciprocal_rank_fusion([far, near], 1, constant=0).rows.tolist() == [[4]]


def test_agrees_with_brute_force() -> None:
    generator = np.random.default_rng(4)
    lists = [candidates([generator.permutation(40)[:15].tolist() for _ in range(20)], name) for name in "abc"]
    fused = reciprocal_rank_fusion(lists, 10, {"a": 0.3})
    for request in range(20):
        sums: dict[int, float] = {}
        for one in lists:
            for rank, row in enumerate(one.rows[request].tolist(), start=1):
                sums[row] = sums.get(row, 0) + (0.3 if one.source == "a" else 1) / (60 + rank)
        best = sorted(sums, key=lambda row: (-round(sums[row], 7), row))[:10]
        np.testing.assert_allclose(fused.scores[request], [sums[row] for row in best], rtol=1e-5)
        assert set(fused.rows[request].tolist()) == set(best)


def test_refuses_a_weight_for_an_absent_source() -> None:
    with pytest.raises(ConfigError, match="'c'"):
        reciprocal_rank_fusion([candidates([[1]], "a")], 1, {"c": 2})
    with pytest.raises(ConfigError, match="no candidate lists"):
        reciprocal_rank_fusion([], 1)
