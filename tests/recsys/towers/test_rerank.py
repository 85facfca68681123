from __future__ import annotations

import numpy as np
import pytest
import torch

from recsys.encoders.grounded_text import GroundedTextConfig
from recsys.encoders.image import ImageConfig
from recsys.towers.blip import BlipConfig, BlipTower
from recsys.towers.rerank import rerank_by_match


@pytest.fixture(scope="module")
def tower() -> BlipTower:
    """Untrained, but decided: what it looks at moves its judgement."""
    torch.manual_seed(0)
    config = BlipConfig(
        text=GroundedTextConfig(max_tokens=8, vocab_size=100, width=16, layers=1, heads=2),
        image=ImageConfig(kind="features", width=4),
        width=8,
        queue=0,
        alpha=0.0,
    )
    made = BlipTower.create(config, ["a red apple", "the sea"] * 2)
    with torch.no_grad():
        made.text.bert.layers[0].cross_attention.key_value.weight.normal_()
        made.text.bert.layers[0].cross_attention.residual.output.weight.normal_()
        made.matching_head.weight.normal_()
    return made


def test_scores_are_log_odds_plus_cosine_by_temperature(tower: BlipTower) -> None:
    images = [np.eye(4, dtype=np.float32)[row] for row in range(4)]
    cosines = np.array([0.0, 0.1, 0.2, 0.3], np.float32)
    probability = tower.match(["a red apple"] * 4, images)
    scores = rerank_by_match(tower, "a red apple", images, cosines)
    assert tower.contrast_temperature == pytest.approx(0.07)
    np.testing.assert_allclose(1 / (1 + np.exp(cosines / 0.07 - scores)), probability, atol=1e-5)
    assert np.ptp(scores - cosines / 0.07) > 0.5
    tower.match_weight.fill_(0.25)
    np.testing.assert_allclose(
        rerank_by_match(tower, "a red apple", images, cosines), 0.25 * scores + 0.75 * cosines / 0.07, rtol=1e-5
    )
    tower.match_weight.fill_(1)


def test_a_candidate_without_a_picture_has_average_odds(tower: BlipTower) -> None:
    images = [*np.eye(4, dtype=np.float32)[:3], None]
    cosines = np.array([0.3, 0.2, 0.1, 0.9], np.float32)
    scores = rerank_by_match(tower, "a red apple", images, cosines)
    assert scores[3] == pytest.approx((scores[:3] - cosines[:3] / 0.07).mean() + 0.9 / 0.07, abs=1e-5)
    np.testing.assert_allclose(rerank_by_match(tower, "the sea", [None, None], cosines[:2]), cosines[:2] / 0.07)
    assert rerank_by_match(tower, "the sea", [], cosines[:0]).shape == (0,)
