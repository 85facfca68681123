from __future__ import annotations

import numpy as np
import pytest

from recsys.exceptions import ConfigError
from recsys.retrieval.fusion import FUSED, Origin, reciprocal_rank_fusion, score_fusion
from recsys.types import NO_ROW, Candidates


def candidates(rows: list[list[int]], source: str) -> Candidates:
    array = np.array(rows, np.int32)
    return Candidates(array, np.where(array == NO_ROW, -np.inf, -np.arange(array.shape[1])).astype(np.float32), source)


def scored(lists: list[dict[int, float]], source: str) -> Candidates:
    """Candidates from scores by row, best first."""
    width = max(map(len, lists))
    rows, scores = np.full((len(lists), width), NO_ROW, np.int32), np.full((len(lists), width), -np.inf, np.float32)
    for request, of_request in enumerate(lists):
        best_first = sorted(of_request, key=lambda row: -of_request[row])
        rows[request, : len(best_first)] = best_first
        scores[request, : len(best_first)] = [of_request[row] for row in best_first]
    return Candidates(rows, scores, source)


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


def test_every_candidate_keeps_its_sources_ranks_and_scores() -> None:
    words = scored([{7: 9.5, 3: 4.0}, {}], "words")
    dense = scored([{3: 0.75, 5: 0.5, 7: 0.25}, {1: 0.125}], "dense")
    for fused in (reciprocal_rank_fusion([words, dense], 5), score_fusion([words, dense], 5)):
        assert fused.origins(0, 7) == [Origin("words", 1, 9.5), Origin("dense", 3, 0.25)]
        assert fused.origins(0, 3) == [Origin("dense", 1, 0.75), Origin("words", 2, 4.0)]
        assert fused.origins(0, 5) == [Origin("dense", 2, 0.5)]
        assert fused.origins(1, 1) == [Origin("dense", 1, 0.125)]
        assert fused.origins(1, 7) == fused.origins(0, NO_ROW + 99) == []
        top = fused.top(1)
        assert top.rows.shape == (2, 1)
        assert top.origins(0, 5) == fused.origins(0, 5)


def test_known_sums_of_scores() -> None:
    words = scored([{1: 8.0, 2: 6.0, 3: 4.0}, {6: 3.0}, {}], "words")
    dense = scored([{3: 0.9, 4: 0.5, 1: 0.1}, {6: 0.2, 5: 0.2}, {4: 0.3}], "dense")
    fused = score_fusion([words, dense], 4, {"words": 0.75, "dense": 0.25})
    assert fused.source == FUSED
    assert fused.rows.tolist() == [[1, 2, 3, 4], [6, 5, NO_ROW, NO_ROW], [4, NO_ROW, NO_ROW, NO_ROW]]
    expected = [[0.75, 0.375, 0.25, 0.125], [1, 0.25, -np.inf, -np.inf], [0.25, -np.inf, -np.inf, -np.inf]]
    np.testing.assert_allclose(fused.scores, expected, rtol=1e-6)


def test_scores_are_measured_from_the_floor_of_their_source() -> None:
    words = scored([{1: 8.0, 2: 6.0, 3: 4.0}, {6: 3.0}], "words")
    dense = scored([{3: 0.9, 4: 0.5, 1: 0.1}, {7: 0.4}], "dense")
    fused = score_fusion([words, dense], 4, {"words": 0.5, "dense": 0.5}, {"words": 0})
    assert fused.rows.tolist() == [[3, 1, 2, 4], [6, 7, NO_ROW, NO_ROW]]
    np.testing.assert_allclose(fused.scores[0], [0.75, 0.5, 0.375, 0.25], rtol=1e-6)
    np.testing.assert_allclose(fused.scores[1, :2], [0.5, 0.5])


def test_a_weight_of_0_leaves_the_order_of_the_other_source_and_its_ties_to_the_lower_row() -> None:
    words = scored([{5: 3.0, 4: 2.0, 9: 1.0}], "words")
    dense = scored([{8: 0.9, 5: 0.5, 2: 0.1}], "dense")
    assert score_fusion([words, dense], 3, {"dense": 0}).rows.tolist() == [[5, 4, 2]]
    assert score_fusion([words, dense], 3, {"words": 0}).rows.tolist() == [[8, 5, 2]]


def test_scores_of_another_scale_fuse_to_the_same() -> None:
    generator = np.random.default_rng(5)
    lists = [
        [dict(zip(generator.permutation(30)[:12].tolist(), generator.random(12), strict=True)) for _ in range(6)]
        for _ in range(2)
    ]
    wider = [{row: 40 * score - 7 for row, score in of_request.items()} for of_request in lists[0]]
    one = score_fusion([scored(lists[0], "a"), scored(lists[1], "b")], 10)
    other = score_fusion([scored(wider, "a"), scored(lists[1], "b")], 10)
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)


def test_scores_refuse_what_ranks_refuse() -> None:
    with pytest.raises(ConfigError, match="'c'"):
        score_fusion([candidates([[1]], "a")], 1, {"c": 2})
    with pytest.raises(ConfigError, match="no candidate lists"):
        score_fusion([], 1)
