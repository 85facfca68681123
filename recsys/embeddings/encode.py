"""Encode a catalogue slice by slice: a slice's vectors are one file, so a killed job encodes only what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recsys.ahead import one_ahead
from recsys.data.dataset import ITEMS_PER_GROUP, Dataset
from recsys.device import best_device
from recsys.embeddings.sight import seen_by
from recsys.embeddings.table import EmbeddingTable
from recsys.towers.base import READ_OUTS, ItemBatch, TowerInputs, item_texts
from recsys.towers.families import open_tower
from recsys.towers.tower import Tower
from recsys.types import FloatArray

ITEMS_PER_SLICE = 2 * ITEMS_PER_GROUP
ITEMS_AT_ONCE = 32  # the pixels of more leave the CPU's allocator, and every batch pays for fresh pages


class SliceEncoder:
    """Encodes slices of a catalogue into part files; made once per worker, since it loads the tower.

    Args:
        tower: directory of a saved tower.
        dataset: directory of the data set.
        parts: directory for the part files.
        width: of the vectors; ``None`` for all that the tower has.
    """

    def __init__(self, tower: Path, dataset: Path, parts: Path, width: int | None = None) -> None:
        self.tower = open_tower(tower, width).to(best_device())
        self.dataset = Dataset(dataset)
        self.parts = parts

    def __call__(self, start: int) -> int:
        """Encode the slice that starts at item row ``start``; returns the number of items encoded."""
        rows = range(start, min(start + ITEMS_PER_SLICE, len(self.dataset.items)))
        outputs = encode_rows(self.tower, self.dataset, rows)
        partial = self.parts / f"{start}.partial.npy"
        np.save(partial, np.stack([outputs[name] for name in READ_OUTS]))
        partial.replace(part_file(self.parts, start))
        return len(rows)


def encode_rows(tower: Tower, dataset: Dataset, rows: Sequence[int]) -> Mapping[str, FloatArray]:
    """Read-outs of the items at ``rows``, each float32 ``[n, width]``.

    Texts of like length go together, so that little padding is computed, and the next pictures are decoded in a thread
    while the tower works on the last ones.
    """
    tower.eval()
    listed = np.asarray(rows)
    texts = item_texts(dataset.items[listed.tolist()])
    pictures = seen_by(tower, dataset, listed.tolist())

    def prepare(places: npt.NDArray[np.int64]) -> TowerInputs:
        return tower.inputs(ItemBatch([texts[i] for i in places], [pictures[i] for i in places]))

    order = np.argsort([len(text or "") for text in texts], kind="stable")
    parts = [order[start : start + ITEMS_AT_ONCE] for start in range(0, len(order), ITEMS_AT_ONCE)]
    out = {name: np.zeros((len(listed), tower.width), np.float32) for name in READ_OUTS}
    for places, inputs in zip(parts, one_ahead(prepare, parts), strict=True):
        for name, encoded in tower.encode_inputs(inputs).items():
            out[name][places] = encoded
    return out


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


def open_content(path: Path) -> EmbeddingTable:
    """All that a tower says of the items: the tables written by :func:`join_parts` side by side, as unit vectors.

    What is learned from content learns more from text and picture beside what they were fused into.
    """
    tables = open_tables(path)
    vectors = np.concatenate([np.asarray(tables[name].vectors) for name in READ_OUTS], axis=1)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    first = tables[READ_OUTS[0]]
    vectors /= np.where(lengths > 0, lengths, 1)
    return EmbeddingTable(first.ids, vectors, first.fingerprint)
