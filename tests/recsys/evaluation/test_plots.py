from __future__ import annotations

import io

import numpy as np
from PIL import Image

from recsys.evaluation.plots import contribution_swarm


def drawn(sign: float) -> np.ndarray:
    values = np.random.default_rng(0).standard_normal((300, 2)).astype(np.float32)
    values[:100, 1] = np.nan
    contributions = np.stack([sign * values[:, 0], np.full(300, 0.01)], axis=1).astype(np.float64)
    image = Image.open(io.BytesIO(contribution_swarm(["strong", "weak"], values, contributions)))
    return np.asarray(image.convert("RGB"), np.int64)


def middle(pixels: np.ndarray) -> float:
    return float(np.flatnonzero(pixels.any(axis=0)).mean())


def test_high_values_are_red_and_stand_where_they_move_the_score() -> None:
    for sign in (1.0, -1.0):
        top = drawn(sign)[:60]  # the first feature
        red, blue = top[..., 0] - top[..., 2] > 60, top[..., 2] - top[..., 0] > 60
        assert red.sum() > 50
        assert blue.sum() > 50
        assert sign * (middle(red) - middle(blue)) > 100
