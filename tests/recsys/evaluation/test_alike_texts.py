from __future__ import annotations

import numpy as np

from recsys.evaluation.alike_texts import most_alike
from recsys.types import NO_ROW

TEXTS = [
    "a brown dog runs on grass",
    "a brown dog sleeps",
    "two dogs run on the beach",
    "一碗红烧牛肉面",
    "牛肉面配青菜",
    "children on the beach",
]


def test_the_text_that_shares_most_words_is_found() -> None:
    nobody = np.zeros((6, 6), np.bool_)
    found = most_alike(TEXTS, nobody)
    assert found.tolist() == [1, 0, 0, 4, 3, 2]  # "dog" and "run" are rare enough to outweigh "beach"


def test_barred_pairs_are_passed_over() -> None:
    barred = np.zeros((6, 6), np.bool_)
    barred[0, 1] = True
    barred[3] = True
    found = most_alike(TEXTS, barred)
    assert found[0] == 2
    assert found[1] == 0
    assert found[3] == NO_ROW


def test_equal_texts_and_texts_without_words() -> None:
    found = most_alike(["the sea", "!!!", "the sea", "the sea"], np.zeros((4, 4), np.bool_))
    assert found.tolist()[:1] + found.tolist()[2:] == [2, 0, 0]
    assert most_alike([], np.zeros((0, 0), np.bool_)).tolist() == []
    assert most_alike(["alone"], np.zeros((1, 1), np.bool_)).tolist() == [NO_ROW]
