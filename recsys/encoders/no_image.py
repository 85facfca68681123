"""NoImages: stands where a tower that reads only texts would hold its image encoder, and looks at nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.encoders.image import FeatureEncoder
from recsys.types import FloatArray, Image


class NoImages(FeatureEncoder):
    """Takes any pictures, and shows none of them."""

    def __init__(self) -> None:
        super().__init__(1)

    def prepare(self, images: Sequence[Image | FloatArray | None]) -> npt.NDArray[Any]:
        """Zeros ``[n, 1]``, whatever the items bring."""
        return np.zeros((len(images), 1), np.float32)
