from __future__ import annotations

import numpy as np
import polars as pl

from recsys import schemas
from recsys.evaluation.slices import catalogue_slices, head, text_characters


def test_each_slice_holds_the_items_its_description_says() -> None:
    engagements = np.array([0, 4, 5, 90, 1])
    slices = catalogue_slices(engagements, np.array([1, 0, 2, 1, 1]), np.array([40, 40, 11, 12, 0]))
    assert {part.name: np.flatnonzero(part.items).tolist() for part in slices} == {
        "cold": [0],
        "nearly cold": [0, 1, 4],
        "long tail": [0, 1, 2, 4],
        "no picture": [1],
        "poor text": [2, 4],
    }


def test_empty_slices_are_left_out() -> None:
    slices = catalogue_slices(np.array([50, 50]), np.array([1, 1]), np.array([99, 99]))
    assert [part.name for part in slices] == []


def test_the_head_is_the_fewest_items_that_reach_four_fifths() -> None:
    assert head(np.array([10, 50, 30, 10])).tolist() == [False, True, True, False]  # exactly 80 %
    assert head(np.array([10, 49, 30, 11])).tolist() == [False, True, True, True]  # 79 % with two
    assert head(np.array([1, 1, 1, 1, 1])).tolist() == [True, True, True, True, False]
    assert head(np.array([0, 0])).tolist() == [False, False]


def test_text_counts_characters_not_bytes_and_missing_text_is_zero() -> None:
    items = pl.DataFrame({schemas.TITLE: ["早餐", None, "tea"], schemas.TEXT: ["好吃!", None, None]})
    assert text_characters(items).tolist() == [5, 0, 3]
