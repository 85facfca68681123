from __future__ import annotations

import numpy as np
import pytest

from recsys.evaluation import geometry
from recsys.evaluation.geometry import alignment, potentials

CORNERS = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32)


def test_alignment_is_the_squared_distance() -> None:
    assert alignment(CORNERS, CORNERS).tolist() == [0, 0, 0, 0]
    assert alignment(CORNERS, -CORNERS).tolist() == [4, 4, 4, 4]
    assert alignment(CORNERS, np.roll(CORNERS, 1, axis=0)).tolist() == [2, 2, 2, 2]


def test_a_square_is_known() -> None:
    """Each corner has two others at squared distance 2 and one at 4."""
    assert potentials(CORNERS) == pytest.approx(np.full(4, (2 * np.exp(-4) + np.exp(-8)) / 3))


def test_one_point_is_the_least_uniform() -> None:
    assert np.log(potentials(np.tile(CORNERS[:1], (5, 1))).mean()) == pytest.approx(0)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = potentials(CORNERS)
    monkeypatch.setattr(geometry, "ROWS_PER_BLOCK", 3)
    assert potentials(CORNERS) == pytest.approx(whole)
