"""VectorIndex: the verbs every index speaks, and what it demands of a query."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from recsys.exceptions import ArtifactError
from recsys.index.selection import Selection
from recsys.types import FloatArray, RowArray


class VectorIndex(Protocol):
    """Nearest unit vectors by inner product. A row is a position in the EmbeddingTable it was built from."""

    def __len__(self) -> int: ...

    def search(self, queries: FloatArray, k: int, selection: Selection | None = None) -> tuple[RowArray, FloatArray]:
        """The k most similar rows of each query, among those that may be returned.

        Args:
            queries: float32 ``[q, d]``.
            k: number of neighbours.
            selection: rows that may be returned; default: all.

        Returns:
            Rows int32 ``[q, k]`` best first, padded with ``NO_ROW``, and inner products ``[q, k]``, ``-inf`` there.

        Raises:
            ArtifactError: queries of another width, or not finite.
        """
        ...


def check_queries(queries: FloatArray, width: int) -> None:
    """Refuse queries that no vector of this width can answer.

    Raises:
        ArtifactError: naming the shape, or the first query that is not finite.
    """
    if queries.ndim != 2 or queries.shape[1] != width:
        raise ArtifactError(
            f"Queries of shape {queries.shape} do not fit an index of width {width}.",
            "Give one row per query, encoded with the tower of the index.",
        )
    if not np.isfinite(queries).all():
        first = int(np.argmin(np.isfinite(queries).all(axis=1)))
        raise ArtifactError(f"Query {first} is not finite.", "Check the encoder's output.")
