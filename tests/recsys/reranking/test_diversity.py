from __future__ import annotations

import numpy as np
import pytest

from recsys.reranking.diversity import SSDConfig, ssd


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clustered(n: int, d: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((4, d))
    vectors = unit(centres[generator.integers(0, 4, n)] + 0.2 * generator.standard_normal((n, d)))
    vectors[n // 2] = vectors[0]  # an exact copy: the window may lose rank
    return generator.standard_normal(n).astype(np.float32), vectors


def by_definition(
    scores: np.ndarray, vectors: np.ndarray, size: int, config: SSDConfig, previous: np.ndarray
) -> list[int]:
    """The definition, one least-squares problem per item and step."""
    relevance = (scores.astype(float) - scores.astype(float).mean()) / scores.astype(float).std()
    items = np.hstack([vectors, np.ones((len(vectors), 1))]).astype(float)
    shown = list(np.hstack([previous, np.ones((len(previous), 1))]).astype(float))
    order: list[int] = []
    for _ in range(size):
        recent = shown[-(config.window - 1) :] if config.window > 1 else []
        best, best_value = -1, -np.inf
        for item in range(len(items)):
            if item in order:
                continue
            left = items[item]
            if recent:
                basis = np.stack(recent, axis=1)
                left = left - basis @ np.linalg.lstsq(basis, left, rcond=1e-9)[0]
            value = relevance[item] + config.gamma * np.linalg.norm(left)
            if value > best_value + 1e-9:
                best, best_value = item, value
        order.append(best)
        shown.append(items[best])
    return order


@pytest.mark.parametrize("window", [1, 2, 4, 9])
@pytest.mark.parametrize("pages", [0, 3])
def test_equals_the_definition(window: int, pages: int) -> None:
    for seed in range(4):
        scores, vectors = clustered(30, 5, seed)
        previous = clustered(10, 5, seed + 50)[1][:pages]
        config = SSDConfig(gamma=1.5, window=window)
        expected = by_definition(scores, vectors, 12, config, previous)
        assert ssd(scores, vectors, 12, config, previous if pages else None).tolist() == expected


def test_without_gamma_the_order_is_by_score() -> None:
    scores, vectors = clustered(40, 6, 1)
    assert ssd(scores, vectors, 40, SSDConfig(gamma=0)).tolist() == np.argsort(-scores).tolist()


def test_a_copy_waits_until_its_twin_has_left_the_window() -> None:
    vectors = unit(np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], float))
    scores = np.float32([1.0, 0.99, 0.98, 0.97])
    assert ssd(scores, vectors, 4, SSDConfig(gamma=50, window=3)).tolist() == [0, 2, 3, 1]
    assert ssd(scores, vectors, 4, SSDConfig(gamma=50, window=2)).tolist()[:2] == [0, 2]


def test_the_previous_page_counts() -> None:
    vectors = unit(np.array([[1, 0], [0, 1]], float))
    scores = np.float32([1.0, 0.9])
    config = SSDConfig(gamma=10, window=3)
    assert ssd(scores, vectors, 2, config).tolist() == [0, 1]
    assert ssd(scores, vectors, 2, config, previous=vectors[:1]).tolist() == [1, 0]


def test_inputs_stay_as_they_are_and_the_answer_with_them() -> None:
    scores, vectors = clustered(50, 8, 3)
    copies = scores.copy(), vectors.copy()
    first = ssd(scores, vectors, 20, SSDConfig(), vectors[:3])
    np.testing.assert_array_equal(scores, copies[0])
    np.testing.assert_array_equal(vectors, copies[1])
    np.testing.assert_array_equal(first, ssd(scores, vectors, 20, SSDConfig(), vectors[:3]))


def test_equal_scores_and_few_items() -> None:
    vectors = unit(np.array([[1, 0], [1, 0], [0, 1]], float))
    assert ssd(np.float32([2, 2, 2]), vectors, 10, SSDConfig(gamma=1)).tolist() == [0, 2, 1]
    assert ssd(np.empty(0, np.float32), np.empty((0, 2), np.float32), 5, SSDConfig()).tolist() == []
