"""The look of a cover is there to be seen, the topic is only hinted at, and the same seed draws the same bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from recsys.data.world.palettes import PALETTES
from recsys.data.world.pictures import draw_cover
from recsys.data.world.styles import STYLES
from recsys.data.world.topics import TOPICS

ROUNDS = 3


@pytest.fixture(scope="module")
def covers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, styles and palettes of covers of every style and palette, topics mixed, one round after the other."""
    rng = np.random.default_rng(5)
    features, styles, palettes = [], [], []
    for round_ in range(ROUNDS):
        for style in range(len(STYLES)):
            for palette in range(len(PALETTES)):
                topic = int(rng.integers(len(TOPICS)))
                cover = draw_cover(np.random.default_rng([round_, style, palette]), topic, style, palette)
                features.append(describe(cover))
                styles.append(style)
                palettes.append(palette)
    return np.array(features), np.array(styles), np.array(palettes)


def describe(cover: bytes) -> np.ndarray:
    """Share of pixels per hue, weighted by colourfulness, then brightness and fine texture."""
    picture = Image.open(io.BytesIO(cover))
    hue, saturation, value = (np.asarray(band, np.float64) for band in picture.convert("HSV").split())
    hues = np.bincount((hue.astype(int) // 8).ravel(), (saturation * value / 255**2).ravel(), minlength=32)
    grey = np.asarray(picture.convert("L"), np.float64)
    brightness = np.histogram(grey, bins=8, range=(0, 256))[0] / grey.size
    edges = np.histogram(np.abs(np.diff(grey, axis=1)), bins=[0, 1, 2, 4, 8, 16, 32, 256])[0] / grey.size
    colour = hues / max(hues.sum(), 1e-9)
    return np.concatenate([colour, [saturation.mean() / 255], brightness, edges])


def nearest_neighbour_accuracy(features: np.ndarray, labels: np.ndarray, columns: slice) -> float:
    known = len(labels) * 2 // 3
    chosen = features[:, columns]
    distances = np.linalg.norm(chosen[known:, None] - chosen[None, :known], axis=2)
    return float(np.mean(labels[:known][distances.argmin(axis=1)] == labels[known:]))


def test_the_palette_can_be_seen(covers: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    features, _, palettes = covers
    assert nearest_neighbour_accuracy(features, palettes, slice(0, 33)) > 0.7  # chance: 1/8


def test_the_style_can_be_seen(covers: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    features, styles, _ = covers
    assert nearest_neighbour_accuracy(features, styles, slice(33, None)) > 0.7


@pytest.mark.parametrize("style", range(len(STYLES)), ids=[style.name for style in STYLES])
def test_every_style_draws_a_portrait_jpeg_and_the_same_one_again(style: int) -> None:
    cover, again = (draw_cover(np.random.default_rng(3), 4, style, 2) for _ in range(2))
    picture = Image.open(io.BytesIO(cover))
    assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (240, 320))
    assert cover == again
    assert cover != draw_cover(np.random.default_rng(4), 4, style, 2)


def test_motifs_of_two_topics_differ_where_everything_else_is_equal() -> None:
    covers = {draw_cover(np.random.default_rng(1), topic, 0, 0) for topic in range(len(TOPICS))}
    assert len(covers) == len(TOPICS)
