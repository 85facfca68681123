from __future__ import annotations

import numpy as np
import pytest

from recsys.evaluation.cross_modal import image_to_text, text_to_image, transposed
from recsys.evaluation.judgements import Judgements
from recsys.types import FloatArray


def angles(*degrees: float) -> FloatArray:
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


IMAGES = angles(0, 90, 180)
CAPTIONS = angles(10, 80, 100, 170, 20)
OF = Judgements.of([[0], [0], [1], [1], [2]])
"""Right image nearest: 0 yes, 1 no (second), 2 yes, 3 no (second), 4 no (third)."""


def test_every_caption_is_a_query_with_one_right_image() -> None:
    found = text_to_image(CAPTIONS, IMAGES, OF)
    assert found.recalls()["recall@1"].tolist() == [1, 0, 1, 0, 0]
    assert found.ranks.hits(2).tolist() == [1, 1, 1, 1, 0]
    assert found.clusters.tolist() == [0, 0, 1, 1, 2]
    assert found.expected_by_chance()["recall@1"] == pytest.approx(1 / 3)


def test_any_caption_of_an_image_is_right() -> None:
    """Image 0 is nearest to its caption 0; image 1 to captions 1 and 2 alike, one of them its own; image 2 to none."""
    found = image_to_text(CAPTIONS, IMAGES, OF)
    np.testing.assert_allclose(found.recalls()["recall@1"], [1, 0.5, 0])
    assert found.ranks.hits(2).tolist() == [1, 1, 0]
    assert found.expected_by_chance()["recall@1"] == pytest.approx((2 / 5 + 2 / 5 + 1 / 5) / 3)


def test_a_constant_encoder_scores_chance_both_ways() -> None:
    rng = np.random.default_rng(0)
    owners = rng.integers(0, 20, 100)
    right = Judgements.of([[owner] for owner in owners])
    one = angles(33)
    for direction in (text_to_image, image_to_text):
        found = direction(np.tile(one, (100, 1)), np.tile(one, (20, 1)), right)
        for name, values in found.recalls().items():
            assert np.nanmean(values) == pytest.approx(found.expected_by_chance()[name])
    chance = text_to_image(np.tile(one, (100, 1)), np.tile(one, (20, 1)), right).expected_by_chance()
    assert chance == pytest.approx({"recall@1": 0.05, "recall@5": 0.25, "recall@10": 0.5})


def test_images_without_captions_are_left_out_but_compete() -> None:
    images = np.concatenate([IMAGES, angles(10)])
    assert np.isnan(image_to_text(CAPTIONS, images, OF).recalls()["recall@1"][3])
    assert text_to_image(CAPTIONS, images, OF).recalls()["recall@1"].tolist() == [0, 0, 1, 0, 0]


def test_captions_of_each_image() -> None:
    back = transposed(Judgements.of([[2], [0, 2], []]), 3)
    assert [back.items[a:b].tolist() for a, b in zip(back.offsets, back.offsets[1:], strict=False)] == [[1], [], [0, 1]]
