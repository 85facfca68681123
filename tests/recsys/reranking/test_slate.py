from __future__ import annotations

import numpy as np

from recsys.reranking.diversity import SSDConfig
from recsys.reranking.slate import Reason, diverse_slate
from recsys.types import NO_ROW


def test_both_halves_and_every_reason() -> None:
    rows = np.array([8, 5, 8, 2, 9, 4, NO_ROW], np.int32)
    scores = np.float32([3, 9, 7, 6, 5, 4, 100])
    slate = diverse_slate(rows, scores, np.zeros((7, 2), np.float32), 2, SSDConfig(gamma=0), shown={5})
    assert slate.kept.tolist() == [2, 9]
    assert slate.dropped.tolist() == [8, 5, 8, 4]
    assert slate.reasons == [Reason.SLATE_FULL, Reason.ALREADY_SHOWN, Reason.DOUBLE, Reason.SLATE_FULL]


def test_nothing_is_lost_on_random_slates() -> None:
    generator = np.random.default_rng(0)
    for _ in range(100):
        m = int(generator.integers(1, 20))
        rows = generator.integers(-1, 15, m).astype(np.int32)
        vectors = generator.standard_normal((m, 3)).astype(np.float32)
        slate = diverse_slate(rows, generator.standard_normal(m), vectors, 5, SSDConfig(), shown=[3, 4])
        both = sorted([*slate.kept.tolist(), *slate.dropped.tolist()])
        assert both == sorted(rows[rows != NO_ROW].tolist())
        assert len(set(slate.kept.tolist())) == len(slate.kept) <= 5
        assert len(slate.reasons) == len(slate.dropped)
        assert not {3, 4} & set(slate.kept.tolist())


def test_variety_reaches_the_slate() -> None:
    vectors = np.float32([[1, 0], [1, 0], [0, 1]])
    rows, scores = np.array([10, 11, 12], np.int32), np.float32([3, 2.9, 2.8])
    assert diverse_slate(rows, scores, vectors, 2, SSDConfig(gamma=5)).kept.tolist() == [10, 12]
    assert diverse_slate(rows, scores, vectors, 2, SSDConfig(gamma=0)).kept.tolist() == [10, 11]
