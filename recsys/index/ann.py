"""FaissIndex: flat and inverted-file (IVF) search by FAISS, saved to and memory-mapped from one file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np
from pydantic import Field

from recsys.config import BaseConfig
from recsys.embeddings.table import EmbeddingTable, check_unit
from recsys.exceptions import ArtifactError, ConfigError
from recsys.index.base import check_queries
from recsys.index.selection import Mask, Selection
from recsys.types import FloatArray, RowArray

SAMPLE_PER_LIST = 64  # training vectors per centroid: enough for k-means, and four times quicker than FAISS's 256
LEAST_PER_LIST = 39  # below that FAISS calls a centroid badly trained


class FaissConfig(BaseConfig):
    """Which FAISS index.

    ``flat`` compares with everything; ``ivf`` clusters the vectors into ``nlist`` lists and reads the ``nprobe``
    nearest.
    """

    kind: Literal["flat", "ivf"] = "ivf"
    nlist: int | None = Field(default=None, ge=1)  # default: 4 sqrt(n), fewer where lists would be too short to train
    nprobe: int = Field(default=16, ge=1)
    seed: int = 0


class FaissIndex:
    """Inner-product search over the non-zero vectors of a table; zero vectors are left out of the index.

    Equal inner products go to the lower row, among those that FAISS returns.
    """

    def __init__(self, index: Any, rows: int) -> None:
        self._index = index
        self._rows = rows

    @classmethod
    def build(cls, table: EmbeddingTable, config: FaissConfig) -> FaissIndex:
        """Train (IVF) and fill an index. The same table and config give the same index.

        Raises:
            ArtifactError: a vector is neither of unit length nor zero, or all are zero.
            ConfigError: more lists than vectors.
        """
        check_unit(table.vectors, table.ids)
        rows = np.flatnonzero(table.vectors.any(axis=1))
        if not len(rows):
            raise ArtifactError(f"None of the {len(table.ids)} items has a vector.", "Encode the items first.")
        flat = faiss.IndexFlatIP(table.width)
        index = faiss.IndexIDMap(flat) if config.kind == "flat" else _trained_ivf(table, rows, flat, config)
        for start in range(0, len(rows), 65536):
            chunk = rows[start : start + 65536]
            index.add_with_ids(np.ascontiguousarray(table.vectors[chunk]), chunk)
        return cls(index, len(table.ids))

    def save(self, file: Path) -> None:
        faiss.write_index(self._index, str(file))

    @classmethod
    def open(cls, file: Path, rows: int) -> FaissIndex:
        """Memory-map an index that :meth:`save` wrote.

        Args:
            file: the file.
            rows: of the table it was built from.

        Raises:
            ArtifactError: there is no such file.
        """
        if not file.exists():
            raise ArtifactError(f"There is no index file {file}.", "Build the index generation again.")
        return cls(faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC), rows)

    def __len__(self) -> int:
        return self._rows

    def search(self, queries: FloatArray, k: int, selection: Selection | None = None) -> tuple[RowArray, FloatArray]:
        """See :meth:`recsys.index.base.VectorIndex.search`."""
        check_queries(queries, self._index.d)
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if selection is None or (selection.allowed is None and selection.excluded is None):
            scores, rows = self._index.search(queries, k)
        elif selection.excluded is None:
            scores, rows = self._among(queries, k, selection.mask(0, len(self)))
        else:
            found = [self._among(queries[q : q + 1], k, selection.mask(q, len(self))) for q in range(len(queries))]
            scores = np.concatenate([of_query[0] for of_query in found])
            rows = np.concatenate([of_query[1] for of_query in found])
        scores = np.where(rows < 0, -np.inf, scores).astype(np.float32)
        order = np.lexsort((rows, -scores), axis=1)
        return np.take_along_axis(rows, order, axis=1).astype(np.int32), np.take_along_axis(scores, order, axis=1)

    def _among(self, queries: FloatArray, k: int, mask: Mask) -> tuple[FloatArray, Any]:
        library: Any = faiss  # its type stubs do not know that parameters are given by name
        selector = library.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
        if isinstance(self._index, faiss.IndexIVF):
            parameters = library.SearchParametersIVF(sel=selector, nprobe=self._index.nprobe)
        else:
            parameters = library.SearchParameters(sel=selector)
        scores, rows = self._index.search(queries, k, params=parameters)
        return scores, rows


def _trained_ivf(table: EmbeddingTable, rows: Any, quantizer: Any, config: FaissConfig) -> Any:
    nlist = config.nlist or max(1, min(int(4 * math.sqrt(len(rows))), len(rows) // LEAST_PER_LIST))
    if nlist > len(rows):
        raise ConfigError(f"nlist = {nlist} exceeds the {len(rows)} vectors.", "Lower it, or use kind = 'flat'.")
    index = faiss.IndexIVFFlat(quantizer, table.width, nlist, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = min(config.nprobe, nlist)
    index.cp.seed = config.seed
    index.cp.min_points_per_centroid = 1  # a chosen nlist is the caller's word
    size = min(len(rows), SAMPLE_PER_LIST * nlist)
    sample = np.sort(np.random.default_rng(config.seed).choice(rows, size, replace=False))
    index.train(np.ascontiguousarray(table.vectors[sample]))
    return index
