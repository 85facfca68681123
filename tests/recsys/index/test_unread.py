from __future__ import annotations

import numpy as np
import pytest

from recsys.index.unread import Unread

ALLOWANCE = 0.05


def clusters(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centroids [50, 32], vectors [5000, 32] around them, and the list of each."""
    centroids = generator.standard_normal((50, 32))
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    lists = np.arange(5000) % 50
    vectors = centroids[lists] + generator.standard_normal((5000, 32)) / np.sqrt(32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lists = (vectors @ centroids.T).argmax(axis=1)
    return centroids.astype(np.float32), vectors.astype(np.float32), lists


def test_as_many_rows_are_missed_as_it_expects() -> None:
    """Queries that have nothing to do with the clusters, so that their nearest rows are spread over many lists."""
    generator = np.random.default_rng(0)
    centroids, vectors, lists = clusters(generator)
    unread = Unread.of(centroids, vectors[generator.permutation(5000)[:500]], len(vectors), ALLOWANCE)
    queries = generator.standard_normal((200, 32)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    products = queries @ vectors.T
    worst = np.sort(products, axis=1)[:, -10]
    breadths = unread.breadths(queries, worst, 1.0, 10)
    order = np.argsort(-queries @ centroids.T, axis=1)
    missed = [
        (products[query] >= worst[query])[np.isin(lists, order[query, breadths[query] :])].sum() for query in range(200)
    ]
    assert 2 < np.median(breadths) < 25
    assert np.mean(missed) / 10 == pytest.approx(ALLOWANCE, abs=0.03)


def test_fewer_matching_rows_and_better_answers_need_fewer_lists() -> None:
    centroids, vectors, _ = clusters(np.random.default_rng(1))
    unread = Unread.of(centroids, vectors[:300], len(vectors), ALLOWANCE)
    query = vectors[:1]
    breadths = [
        int(unread.breadths(query, np.float32([worst]), share, 10)[0])
        for worst, share in [(0.9, 1), (0.5, 0.1), (0.5, 1), (-1, 1)]
    ]
    assert breadths == sorted(breadths)
    assert breadths[0] <= 1
    assert breadths[-1] == 50
    assert unread.breadths(query, np.float32([5.0]), 1, 10).tolist() == [0]  # nothing can be better


def test_a_typical_query_needs_the_lists_that_hold_its_nearest_rows() -> None:
    generator = np.random.default_rng(2)
    centroids, vectors, lists = clusters(generator)
    unread = Unread.of(centroids, vectors[generator.permutation(5000)[:500]], len(vectors), ALLOWANCE)
    queries = vectors[generator.permutation(5000)[:300]]
    order = np.argsort(-queries @ centroids.T, axis=1)
    for k, share in [(10, 0.5), (50, 0.2), (100, 1)]:
        breadth = unread.typical_breadth(k, share)
        allowed = generator.random(5000) < share
        products = np.where(allowed, queries @ vectors.T, -1)
        nearest = np.argsort(-products, axis=1)[:, :k]
        found = np.mean([np.isin(lists[nearest[query]], order[query, :breadth]).mean() for query in range(300)])
        assert 1 - ALLOWANCE - 0.03 < found < 0.9999
    assert [unread.typical_breadth(10, share) for share in (1, 0.1, 0.01)] == sorted(
        unread.typical_breadth(10, share) for share in (1, 0.1, 0.01)
    )
    assert unread.typical_breadth(10, 1e-4) >= 45  # all lists but those that hold the last twentieth of the rows


@pytest.mark.parametrize("rows", [1, 2])
def test_next_to_nothing_can_be_measured_too(rows: int) -> None:
    vectors = np.eye(4, dtype=np.float32)[:rows]
    unread = Unread.of(vectors[:1], vectors, rows, ALLOWANCE)
    assert unread.breadths(vectors, np.float32([-1] * rows), 1.0, 1).tolist() == [1] * rows
    assert unread.typical_breadth(1, 1.0) == 1


def test_who_may_miss_nothing_reads_everything() -> None:
    centroids, vectors, _ = clusters(np.random.default_rng(3))
    strict = Unread.of(centroids, vectors[:300], len(vectors), 0.0)
    lax = Unread.of(centroids, vectors[:300], len(vectors), 0.2)
    worst = np.float32([0.6])
    assert strict.breadths(vectors[:1], worst, 1.0, 10).tolist() == [50]
    assert lax.breadths(vectors[:1], worst, 1.0, 10)[0] < 25
    assert strict.typical_breadth(10, 1.0) == 50 > lax.typical_breadth(10, 1.0)
