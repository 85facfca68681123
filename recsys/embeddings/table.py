"""EmbeddingTable: unit vectors of items, memory-mapped, with the fingerprint of the tower that made them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys.exceptions import ArtifactError
from recsys.types import FloatArray, IdMap

UNIT_TOLERANCE = 1e-3
IDS_FILE = "ids.arrow"


@dataclass(frozen=True, eq=False)
class EmbeddingTable:
    """One vector per item.

    Attributes:
        ids: the items, in row order.
        vectors: float32 ``[n, d]``, unit length; zeros where the item has nothing to encode (a text-only item in a
            table of picture vectors), so that it is similar to nothing.
        fingerprint: of the tower that made the vectors.
    """

    ids: IdMap
    vectors: FloatArray
    fingerprint: str

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.vectors):
            raise ArtifactError(f"{len(self.ids)} ids for {len(self.vectors)} vectors.")

    @property
    def width(self) -> int:
        return int(self.vectors.shape[1])

    def save(self, path: Path) -> None:
        """Write ``ids.arrow``, ``vectors.npy`` and ``table.json`` into a directory.

        Raises:
            ArtifactError: a vector is neither of unit length nor zero.
        """
        check_unit(self.vectors, self.ids)
        path.mkdir(parents=True, exist_ok=True)
        self.ids.save(path / IDS_FILE)
        np.save(path / "vectors.npy", self.vectors)
        (path / "table.json").write_text(json.dumps({"fingerprint": self.fingerprint}))

    @classmethod
    def open(cls, path: Path) -> EmbeddingTable:
        """Memory-map a table: neither ids nor vectors are read yet."""
        ids = IdMap.open(path / IDS_FILE)
        vectors = np.load(path / "vectors.npy", mmap_mode="r")
        return cls(ids, vectors, json.loads((path / "table.json").read_text())["fingerprint"])


def check_unit(vectors: FloatArray, ids: IdMap) -> None:
    """Refuse vectors that are not finite, or neither of unit length nor zero, naming the first.

    Raises:
        ArtifactError: naming the item and its length.
    """
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))  # no copy of a memory-mapped table
    bad = ~((np.abs(norms - 1) < UNIT_TOLERANCE) | (norms == 0))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ArtifactError(f"The vector of item {ids[row]!r} has length {norms[row]:.4g}, not 1.", "Normalise it.")
