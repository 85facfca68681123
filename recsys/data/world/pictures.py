"""Draws the cover of a note: a motif that hints at the topic, in a style and palette that only the picture shows."""

from __future__ import annotations

import io

import numpy as np

from recsys.data.world.canvas import BOARD
from recsys.data.world.motifs import NEUTRAL, OF_TOPIC
from recsys.data.world.palettes import PALETTES
from recsys.data.world.styles import STYLES
from recsys.types import Image

SHARE_ON_TOPIC = 0.75
"""How often the motif is the topic's own; otherwise it says nothing about the topic."""
JPEG_QUALITY = 84


def draw_cover(rng: np.random.Generator, topic: int, style: int, palette: int) -> Image:
    """A portrait JPEG of ``canvas.WIDTH`` x ``canvas.HEIGHT`` pixels.

    Args:
        rng: source of composition and variety.
        topic: position in ``TOPICS``.
        style: position in ``STYLES``.
        palette: position in ``PALETTES``.
    """
    motif = OF_TOPIC[topic] if rng.random() < SHARE_ON_TOPIC else NEUTRAL[int(rng.integers(len(NEUTRAL)))]
    if rng.random() < 0.5:
        motif = tuple(shape.mirrored() for shape in motif)
    scale = BOARD[0] * rng.uniform(0.31, 0.37)
    tilt = rng.normal(0, 0.04)
    centre = (BOARD[0] * rng.uniform(0.46, 0.54), BOARD[1] * rng.uniform(0.48, 0.56))
    placed = tuple(shape.moved(scale, tilt, centre) for shape in motif)
    picture = STYLES[style].draw(rng, placed, PALETTES[palette])
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()
