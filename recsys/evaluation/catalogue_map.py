"""Map of a catalogue: covers on a grid, so that items with similar vectors lie side by side."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageOps
from scipy.optimize import linear_sum_assignment

from recsys.data.media import decode
from recsys.evaluation.tsne import flat_map
from recsys.types import FloatArray, Image

MOST_TILES = 900
TILE, GAP = 40, 2
ASPECT = 1.6
BACKGROUND = (31, 29, 28)
JPEG_QUALITY = 80


def draw_map(vectors: FloatArray, covers: Sequence[Image]) -> bytes:
    """One JPEG of all covers.

    Args:
        vectors: of the items, ``[n, d]``; n is at most :data:`MOST_TILES`.
        covers: picture of each; one that cannot be decoded leaves its place empty.
    """
    cells = on_grid(flat_map(vectors))
    width, height = (cells.max(axis=0) + 1) * (TILE + GAP) + GAP
    canvas = PillowImage.new("RGB", (int(width), int(height)), BACKGROUND)
    for (column, row), cover in zip(cells, covers, strict=True):
        try:
            tile = ImageOps.fit(decode(cover, TILE), (TILE, TILE))
        except (OSError, ValueError, PillowImage.DecompressionBombError):
            continue
        canvas.paste(tile, (GAP + int(column) * (TILE + GAP), GAP + int(row) * (TILE + GAP)))
    buffer = io.BytesIO()
    canvas.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def on_grid(positions: FloatArray) -> npt.NDArray[np.int64]:
    """A cell (column, row) of its own for each point, such that the points move as little as possible in all.

    Args:
        positions: in the plane, ``[n, 2]``.

    Returns:
        ``[n, 2]``; the grid has about :data:`ASPECT` times as many columns as rows.
    """
    n = len(positions)
    columns = int(np.ceil(np.sqrt(n * ASPECT)))
    rows = -(-n // columns)
    ranks = positions.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")  # spreads crowds before they queue
    span = np.maximum(np.ptp(positions, axis=0), np.finfo(np.float32).tiny)
    spread = (ranks / max(n - 1, 1) + (positions - positions.min(axis=0)) / span) / 2 * [columns - 1, rows - 1]
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    cost = np.square(spread[:, None, :] - grid[None, :, :]).sum(axis=-1)
    _, chosen = linear_sum_assignment(cost)
    return np.asarray(grid[chosen], dtype=np.int64)
