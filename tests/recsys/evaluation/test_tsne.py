from __future__ import annotations

import numpy as np
import pytest

from recsys.evaluation.tsne import flat_map, principal_components
from recsys.types import FloatArray


def crowds(count: int = 4, size: int = 15) -> tuple[FloatArray, np.ndarray]:
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(count, 10))
    label = np.repeat(np.arange(count), size)
    return (centres[label] + 0.3 * rng.normal(size=(len(label), 10))).astype(np.float32), label


def test_crowds_stay_together() -> None:
    vectors, label = crowds()
    position = flat_map(vectors)
    distance = np.linalg.norm(position[:, None] - position[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    nearest = distance.argsort(axis=1)[:, :5]
    assert (label[nearest] == label[:, None]).mean() > 0.99


def test_the_same_vectors_give_the_same_map() -> None:
    vectors, _ = crowds()
    np.testing.assert_array_equal(flat_map(vectors), flat_map(vectors))


def test_equal_vectors_and_few_vectors_are_no_trouble() -> None:
    assert np.isfinite(flat_map(np.ones((10, 3), np.float32))).all()
    assert [flat_map(np.eye(n, 3, dtype=np.float32)).shape for n in (1, 2, 3)] == [(1, 2), (2, 2), (3, 2)]
    assert np.isfinite(flat_map(np.eye(4, dtype=np.float32))).all()


def test_principal_components_are_the_directions_of_most_variance() -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(500, 3)) * [1, 5, 0.1]
    found = principal_components(points.astype(np.float32), 2)
    centred = points - points.mean(axis=0)
    for axis, column in ((0, 1), (1, 0)):
        assert abs(np.corrcoef(found[:, axis], centred[:, column])[0, 1]) == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(principal_components((-points).astype(np.float32), 2), -found, rtol=1e-3, atol=1e-3)
