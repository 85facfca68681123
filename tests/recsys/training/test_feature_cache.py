from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from recsys.encoders.image import ImageConfig, ImageEncoder
from recsys.training.feature_cache import FeatureCache


def picture(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    PillowImage.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def encoder(seed: int = 0) -> ImageEncoder:
    torch.manual_seed(seed)
    return ImageEncoder.create(ImageConfig(pixels=16, patch=8, width=16, layers=1, heads=2, frozen=True)).eval()


PICTURES = [picture(0), None, picture(1), picture(0)]


@pytest.mark.parametrize("pooled", [True, False])
def test_states_are_those_of_the_encoder(tmp_path: Path, pooled: bool) -> None:
    model = encoder()
    states = FeatureCache(tmp_path, model, pooled).states(PICTURES)
    with torch.inference_mode():
        pixels = torch.from_numpy(model.prepare([PICTURES[0], PICTURES[2]]))
        expected = (model(pixels) if pooled else model.states(pixels)).numpy()
    np.testing.assert_allclose(states[[0, 2]], expected, atol=2e-3)
    np.testing.assert_array_equal(states[0], states[3])
    assert not states[1].any()


def test_each_picture_is_computed_once(tmp_path: Path) -> None:
    first = FeatureCache(tmp_path, encoder(), pooled=True)
    first.states(PICTURES)
    files = {file: file.stat().st_mtime_ns for file in first.folder.iterdir()}
    again = FeatureCache(tmp_path, encoder(), pooled=True)
    again.encoder.prepare = lambda pictures: pytest.fail("computed again")  # type: ignore[method-assign]
    np.testing.assert_array_equal(again.states(PICTURES[::-1]), first.states(PICTURES)[::-1])
    assert {file: file.stat().st_mtime_ns for file in first.folder.iterdir()} == files


def test_new_pictures_are_added_to_those_that_are_known(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, encoder(), pooled=True)
    one = cache.states([picture(0)])
    both = cache.states([picture(5), picture(0)])
    np.testing.assert_array_equal(both[1], one[0])
    assert both[0].any()
    assert len(list(cache.folder.glob("*.arrow"))) == 2


def test_another_encoder_or_reading_has_a_cache_of_its_own(tmp_path: Path) -> None:
    folders = {FeatureCache(tmp_path, encoder(seed), pooled).folder for seed in (0, 1) for pooled in (True, False)}
    assert len(folders) == 4
    assert FeatureCache(tmp_path, encoder(0), True).folder in folders
