from __future__ import annotations

import numpy as np

from recsys.encoders.no_image import NoImages


def test_nothing_is_looked_at() -> None:
    encoder = NoImages()
    assert not encoder.reads_pixels
    shown = encoder.prepare([b"no picture at all", np.ones(7, np.float32), None])
    assert shown.shape == (3, 1)
    assert not shown.any()
    assert not list(encoder.parameters())
