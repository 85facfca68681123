from __future__ import annotations

import numpy as np
import pytest

from recsys.features.counters import AsOfCounter


@pytest.mark.parametrize("window", [None, 1, 7, 50])
def test_equals_counting_one_by_one(window: int | None) -> None:
    generator = np.random.default_rng(0)
    keys, times = generator.integers(0, 8, 400) * 10**12, generator.integers(0, 60, 400)
    asked, moments = generator.integers(-1, 10, (30, 5)) * 10**12, generator.integers(-5, 70, (30, 5))
    counts = AsOfCounter(keys, times).before(asked, moments, window)
    for place in np.ndindex(asked.shape):
        since = -np.inf if window is None else moments[place] - window
        expected = ((keys == asked[place]) & (times < moments[place]) & (times >= since)).sum()
        assert counts[place] == expected


def test_an_event_at_the_very_moment_does_not_count() -> None:
    counter = AsOfCounter(np.array([3, 3]), np.array([100, 200]))
    assert counter.before(np.array([3, 3, 3]), np.array([100, 101, 201])).tolist() == [0, 1, 2]


def test_no_events() -> None:
    empty = np.empty(0, np.int64)
    assert AsOfCounter(empty, empty).before(np.array([1, 2]), np.array([5, 5])).tolist() == [0, 0]
