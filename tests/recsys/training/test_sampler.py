from __future__ import annotations

import numpy as np
import pytest

from recsys.data.pairs import ItemPairs
from recsys.training.sampler import BatchSampler

PAIRS = ItemPairs(np.array([0, 0, 1], np.int32), np.array([2, 3, 4], np.int32), np.array([8, 1, 1], np.float32))


def test_batches_depend_on_seed_and_step_alone(pairs: ItemPairs) -> None:
    rows = np.arange(100, dtype=np.int32)
    one, same, other = (BatchSampler(rows, pairs, seed, 10, 5, 2) for seed in (3, 3, 4))
    one.draw(0)
    np.testing.assert_array_equal(one.draw(7), same.draw(7))
    assert not np.array_equal(one.draw(7), other.draw(7))


def test_anchors_are_drawn_by_the_root_of_their_mass_and_partners_by_score() -> None:
    """Item 0 has mass 8 + 1, item 1 mass 1: anchors come 3 : 1, and 0's partners 8 : 1."""
    sampler = BatchSampler(np.arange(5, dtype=np.int32), PAIRS, 0, 2, 20_000, 2)
    rows = sampler.draw(0)
    anchors, partners = rows[2:20_002], rows[20_002:].reshape(2, 20_000)
    assert np.mean(anchors == 0) == pytest.approx(0.75, abs=0.01)
    assert np.mean(partners[:, anchors == 0] == 2) == pytest.approx(8 / 9, abs=0.01)
    assert (partners[:, anchors == 1] == 4).all()
    affinity = sampler.affinity(np.array([0, 2, 4, 1], np.int32))
    np.testing.assert_array_equal(affinity, [[0, 8, 0, 0], [8, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])


def test_log_q_is_how_often_items_come() -> None:
    sampler = BatchSampler(np.arange(5, dtype=np.int32), PAIRS, 0, 2, 6, 2)
    counts = np.bincount(np.concatenate([sampler.draw(step) for step in range(4000)]), minlength=5)
    np.testing.assert_allclose(sampler.log_q(np.arange(5)).exp().numpy(), counts / counts.sum(), atol=0.01)


def test_without_pairs_items_come_evenly() -> None:
    nothing = ItemPairs(*(np.empty(0, kind) for kind in (np.int32, np.int32, np.float32)))
    sampler = BatchSampler(np.array([3, 5, 8], np.int32), nothing, 0, 2, 6, 2)
    assert set(sampler.draw(1).tolist()) < {3, 5, 8}
    np.testing.assert_allclose(sampler.log_q(np.array([3, 5, 8])).exp().numpy(), 1 / 3, rtol=1e-6)
