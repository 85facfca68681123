"""What a tower sees of items: their covers, or the vectors they bring along."""

from __future__ import annotations

from collections.abc import Sequence

from recsys.data.dataset import Dataset
from recsys.towers.tower import Tower
from recsys.types import FloatArray, Image


def seen_by(tower: Tower, dataset: Dataset, rows: Sequence[int]) -> list[Image | FloatArray | None]:
    """One picture an item, in the form the tower's image encoder reads; ``None`` where there is none."""
    if tower.image.reads_pixels:
        return list(dataset.covers(rows))
    vectors, present = dataset.image_features(rows)
    return [vector if there else None for vector, there in zip(vectors, present, strict=True)]
