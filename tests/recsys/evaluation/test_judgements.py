from __future__ import annotations

import numpy as np
import pytest

from recsys.evaluation.judgements import NO_LABEL, Judgements, judge, judge_slates
from recsys.exceptions import DataError
from recsys.types import NO_ROW, Histories


def rows(*lists: list[int]) -> np.ndarray:
    return np.array(lists, dtype=np.int32)


def test_grades_stand_where_the_items_do_and_missed_items_count() -> None:
    judgements = Judgements.of([[4, 2, 9], [], [7]], [[1, 3, 2], [], [0]])
    lists = judge(rows([2, 5, 4, NO_ROW], [2, 4, 9, 7], [7, 9, 2, 4]), judgements, 4)
    assert lists.grades.tolist() == [[3, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert lists.ideal.tolist() == [[3, 2, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert lists.relevant.tolist() == [3, 0, 0]


def test_short_lists_are_padded_and_long_ones_cut() -> None:
    judgements = Judgements.of([[4, 2, 9]])
    assert judge(rows([2]), judgements, 3).ideal.tolist() == [[1, 1, 1]]
    cut = judge(rows([5, 2, 9]), judgements, 2)
    assert (cut.grades.tolist(), cut.relevant.tolist()) == ([[0, 1]], [3])


def test_an_item_of_another_request_is_no_hit() -> None:
    lists = judge(rows([1], [0]), Judgements.of([[0], [1]]), 1)
    assert lists.grades.tolist() == [[0], [0]]


def test_nothing_judged_at_all() -> None:
    lists = judge(rows([1, 2]), Judgements.of([[]]), 2)
    assert (lists.grades.tolist(), lists.relevant.tolist()) == ([[0, 0]], [0])


def test_a_slice_keeps_its_own_items_only() -> None:
    judgements = Judgements.of([[0, 1], [2], [1, 3]], [[1, 2], [3], [4, 5]])
    part = judgements.within(np.array([False, True, False, True]))
    assert part.offsets.tolist() == [0, 1, 1, 3]
    assert part.items.tolist() == [1, 1, 3]
    assert part.grades.tolist() == [2, 4, 5]


def test_held_out_histories_are_graded_by_weight() -> None:
    held_out = Histories(np.array([0, 2, 3]), np.int32([5, 6, 5]), np.float32([1, 4, 2]))
    judgements = Judgements.of_histories(held_out)
    assert judge(rows([6], [5]), judgements, 1).grades.tolist() == [[4], [2]]
    assert judge(rows([6], [5]), judgements.binary(), 1).grades.tolist() == [[1], [1]]


def test_doubled_judgements_doubled_items_and_bad_grades_are_refused() -> None:
    with pytest.raises(DataError, match="Request 1 judges item row 3 twice"):
        Judgements.of([[3], [3, 5, 3]])
    with pytest.raises(DataError, match="negative or not finite"):
        Judgements.of([[3]], [[-1]])
    with pytest.raises(DataError, match="list of request 1 names item row 8 twice"):
        judge(rows([1, NO_ROW, NO_ROW], [8, 2, 8]), Judgements.of([[1], [2]]), 3)
    with pytest.raises(DataError, match="1 lists for 2 judged requests"):
        judge(rows([1]), Judgements.of([[1], [2]]), 1)


def test_slates_are_sorted_by_score_ties_keep_their_order_and_padding_goes_last() -> None:
    labels = np.float32([[0, 3, 1, 2], [1, 0, NO_LABEL, NO_LABEL]])
    scores = np.float32([[0.5, 0.1, 0.9, 0.5], [-5, -np.inf, 7, np.nan]])
    lists = judge_slates(labels, scores)
    assert lists.grades.tolist() == [[1, 0, 2, 3], [1, 0, 0, 0]]
    assert lists.ideal.tolist() == [[3, 2, 1, 0], [1, 0, 0, 0]]
    assert lists.relevant.tolist() == [3, 1]


def test_an_entry_of_score_minus_infinity_still_stands_before_padding() -> None:
    lists = judge_slates(np.float32([[NO_LABEL, 2]]), np.float32([[0, -np.inf]]))
    assert lists.grades.tolist() == [[2, 0]]


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="not a number"):
        judge_slates(np.float32([[1, 0]]), np.float32([[np.nan, 0]]))
