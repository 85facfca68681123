"""Encode a catalogue slice by slice: a slice's vectors are one file, so a killed job encodes only what is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys.data.dataset import ITEMS_PER_GROUP, Dataset
from recsys.embeddings.table import EmbeddingTable
from recsys.towers.base import READ_OUTS, ItemBatch, ItemTower, item_texts
from recsys.towers.clip import ClipTower

ITEMS_PER_SLICE = 2 * ITEMS_PER_GROUP


class SliceEncoder:
    """Encodes slices of a catalogue into part files; made once per worker, since it loads the tower.

    Args:
        tower: directory of a saved tower.
        dataset: directory of the data set.
        parts: directory for the part files.
    """

    def __init__(self, tower: Path, dataset: Path, parts: Path) -> None:
        self.tower: ItemTower = ClipTower.load(tower)
        self.dataset = Dataset(dataset)
        self.texts = item_texts(self.dataset.items)
        self.parts = parts

    def __call__(self, start: int) -> int:
        """Encode the slice that starts at item row ``start``; returns the number of items encoded."""
        stop = min(start + ITEMS_PER_SLICE, len(self.texts))
        batch = ItemBatch(self.texts[start:stop], self.dataset.covers(range(start, stop)))
        outputs = self.tower.encode_items(batch)
        partial = self.parts / f"{start}.partial.npy"
        np.save(partial, np.stack([outputs[name] for name in READ_OUTS]))
        partial.replace(part_file(self.parts, start))
        return stop - start


def part_file(parts: Path, start: int) -> Path:
    return parts / f"{start}.npy"


def missing_slices(n_items: int, parts: Path) -> list[int]:
    """Starts of the slices that have no part file yet."""
    return [start for start in range(0, n_items, ITEMS_PER_SLICE) if not part_file(parts, start).exists()]


def join_parts(dataset: Dataset, parts: Path, fingerprint: str, out: Path) -> None:
    """Write one EmbeddingTable per read-out from all part files, as ``out/<read-out>/``."""
    stacked = [np.load(part_file(parts, start)) for start in range(0, len(dataset.ids), ITEMS_PER_SLICE)]
    for number, name in enumerate(READ_OUTS):
        vectors = np.concatenate([part[number] for part in stacked])
        EmbeddingTable(dataset.ids, vectors, fingerprint).save(out / name)


def open_tables(path: Path) -> dict[str, EmbeddingTable]:
    """The tables written by :func:`join_parts`, by read-out."""
    return {name: EmbeddingTable.open(path / name) for name in READ_OUTS}
