from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from recsys.evaluation import ranks
from recsys.evaluation.judgements import Judgements
from recsys.evaluation.ranks import BestRanks, best_ranks, pair_ranks
from recsys.exceptions import DataError
from recsys.types import FloatArray

RIGHT = Judgements.of([[3], [0, 4], [], [2], [1, 2, 5]])


def unit(rows: int, seed: int, width: int = 8) -> FloatArray:
    vectors = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def by_hand(scores: FloatArray, right: Judgements, k: int) -> list[tuple[float, float]]:
    """(any right in the top k, share of the right in the top k), by sorting."""
    out = []
    for request, row in enumerate(scores):
        wanted = set(right.items[right.offsets[request] : right.offsets[request + 1]].tolist())
        found = wanted & set(np.argsort(-row)[:k].tolist())
        out.append((float(bool(found)), len(found) / len(wanted)) if wanted else (np.nan, np.nan))
    return out


@pytest.mark.parametrize("k", [1, 2, 5])
def test_without_ties_it_is_what_sorting_says(k: int) -> None:
    queries, gallery = unit(5, 0), unit(6, 1)
    expected = np.array(by_hand(queries @ gallery.T, RIGHT, k))
    np.testing.assert_array_equal(best_ranks(queries, gallery, RIGHT).hits(k), expected[:, 0])
    np.testing.assert_array_equal(pair_ranks(queries, gallery, RIGHT).recall(k), expected[:, 1])


@pytest.mark.parametrize("k", [1, 2, 3])
def test_ties_are_the_mean_over_every_order_they_could_stand_in(k: int) -> None:
    """One query, levels 3 > 2 = 2 = 2 > 1; two of the tied are right."""
    level = np.array([2, 3, 2, 1, 2])
    gallery = np.stack([level, np.zeros(5)], axis=1).astype(np.float32)
    right = Judgements.of([[0, 4]])
    orders = [order for order in permutations(range(5)) if (np.diff(level[list(order)]) <= 0).all()]
    shown = [set(order[:k]) & {0, 4} for order in orders]
    query = np.array([[1, 0]], np.float32)
    assert best_ranks(query, gallery, right).hits(k)[0] == pytest.approx(np.mean([bool(found) for found in shown]))
    assert pair_ranks(query, gallery, right).recall(k)[0] == pytest.approx(np.mean([len(found) / 2 for found in shown]))


def test_one_point_for_everything_scores_chance_and_not_one() -> None:
    constant = np.tile(unit(1, 3), (10, 1))
    right = Judgements.of([[row] for row in range(10)])
    for k in (1, 5, 10):
        assert best_ranks(constant, constant, right).hits(k) == pytest.approx(np.full(10, k / 10))
        assert pair_ranks(constant, constant, right).recall(k) == pytest.approx(np.full(10, k / 10))
    np.testing.assert_allclose(best_ranks(constant, constant, right).hits(3), BestRanks.by_chance(right, 10).hits(3))


def test_chance_of_several_right_answers_counts_draws_without_return() -> None:
    chance = BestRanks.by_chance(Judgements.of([[0, 1, 2], []]), 10)
    assert chance.hits(4)[0] == pytest.approx(1 - (7 * 6 * 5 * 4) / (10 * 9 * 8 * 7))
    assert chance.hits(8)[0] == 1
    assert np.isnan(chance.hits(1)[1])


def test_rounding_breaks_no_tie() -> None:
    """Copies of one vector tie, however the matrix product rounds each of them."""
    gallery = np.tile(unit(1, 5, 64), (300, 1)) * (1 + 1e-7 * np.random.default_rng(0).normal(size=(300, 1)))
    hits = best_ranks(unit(40, 6, 64), gallery.astype(np.float32), Judgements.of([[row] for row in range(40)])).hits(3)
    np.testing.assert_allclose(hits, 3 / 300)


def test_the_order_of_the_items_changes_nothing() -> None:
    queries, gallery = unit(5, 0), np.repeat(unit(3, 1), 2, axis=0)  # every item twice: ties
    order = np.random.default_rng(2).permutation(6)
    place = np.argsort(order)
    moved = Judgements(RIGHT.offsets, place[RIGHT.items].astype(np.int32), RIGHT.grades)
    for k in (1, 3):
        np.testing.assert_array_equal(
            best_ranks(queries, gallery, RIGHT).hits(k), best_ranks(queries, gallery[order], moved).hits(k)
        )
        np.testing.assert_array_equal(
            pair_ranks(queries, gallery, RIGHT).recall(k), pair_ranks(queries, gallery[order], moved).recall(k)
        )


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, gallery = unit(5, 0), unit(6, 1)
    whole = best_ranks(queries, gallery, RIGHT), pair_ranks(queries, gallery, RIGHT)
    monkeypatch.setattr(ranks, "SCORES_PER_BLOCK", 12)
    parts = best_ranks(queries, gallery, RIGHT), pair_ranks(queries, gallery, RIGHT)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(a.better, b.better)


def test_an_item_without_a_vector_is_never_found() -> None:
    gallery = np.array([[0, 0], [-1, 0], [0.6, 0.8]], np.float32)
    query = np.array([[1, 0]], np.float32)
    assert best_ranks(query, gallery, Judgements.of([[0]])).hits(2)[0] == 0
    assert best_ranks(query, gallery, Judgements.of([[1]])).hits(2)[0] == 1


def test_hidden_items_make_room() -> None:
    gallery = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8]], np.float32)
    right = Judgements.of([[2]])
    assert pair_ranks(gallery[:1], gallery, right).recall(1)[0] == 0
    assert pair_ranks(gallery[:1], gallery, right, Judgements.of([[0, 1]])).recall(1)[0] == 1


def test_recall_among_some_of_the_answers() -> None:
    gallery = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8]], np.float32)
    found = pair_ranks(gallery[:1], gallery, Judgements.of([[0, 2]]))
    assert found.recall(1).tolist() == [0.5]
    assert found.recall(1, np.array([True, False])).tolist() == [1]
    assert np.isnan(found.recall(1, np.array([False, False]))[0])


def test_broken_queries_are_refused() -> None:
    with pytest.raises(DataError, match="not finite"):
        best_ranks(np.array([[np.nan, 0]], np.float32), unit(3, 0, 2), Judgements.of([[0]]))
    with pytest.raises(DataError, match="2 queries for 1 judged requests"):
        best_ranks(unit(2, 0), unit(3, 0), Judgements.of([[0]]))
