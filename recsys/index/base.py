"""VectorIndex: the verbs every index speaks, and the config that picks one."""

from __future__ import annotations

from typing import Protocol

from recsys.types import FloatArray, RowArray


class VectorIndex(Protocol):
    """Nearest unit vectors by inner product. A row is a position in the EmbeddingTable it was built from."""

    def __len__(self) -> int: ...

    def search(self, queries: FloatArray, k: int) -> tuple[RowArray, FloatArray]:
        """The k most similar rows of each query.

        Args:
            queries: float32 ``[q, d]``.
            k: number of neighbours.

        Returns:
            Rows int32 ``[q, k]`` best first, padded with ``NO_ROW``, and inner products ``[q, k]``, ``-inf`` there.
        """
        ...
