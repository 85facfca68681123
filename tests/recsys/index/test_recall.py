from __future__ import annotations

import numpy as np
import pytest

from recsys.index.recall import recall, true_scores, without_self
from recsys.types import NO_ROW


def test_true_scores_are_products_with_the_vectors_found() -> None:
    vectors = np.float32([[1, 0], [0, 1], [0.6, 0.8]])
    scores = true_scores(vectors, np.float32([[1, 0], [0, 1]]), np.int32([[2, 0], [1, NO_ROW]]))
    np.testing.assert_allclose(scores, [[0.6, 1], [1, -np.inf]])


def test_recall_counts_neighbours_as_near_as_the_last_true_one() -> None:
    truth = np.float32([[0.9, 0.8, 0.8], [0.5, 0.4, -np.inf]])
    assert recall(truth, truth) == 1
    assert recall(np.float32([[0.9, 0.8, 0.7], [0.5, 0.3, 0.2]]), truth) == pytest.approx(3 / 5)
    assert recall(np.float32([[0.9, 0.9, 0.9], [0.5, 0.5, 0.5]]), truth) == 1  # ties beyond k count once
    assert recall(np.empty((2, 3), np.float32), np.full((2, 3), -np.inf, np.float32)) == 1


def test_the_query_is_left_out_of_its_own_answers() -> None:
    rows, scores = np.int32([[4, 7, 2], [5, 1, 3]]), np.float32([[1, 0.9, 0.8], [0.7, 0.6, 0.5]])
    kept = without_self(rows, scores, np.int32([4, 9]))
    np.testing.assert_allclose(kept, [[0.9, 0.8], [0.7, 0.6]])
