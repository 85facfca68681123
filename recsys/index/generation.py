"""IndexGeneration: one published index, bound to its embedding table, ids and tower, with its measured recall.

A generation is a directory: ``table/`` (vectors, ids, fingerprint), ``index.faiss`` (not for exact search) and
``generation.json`` (resolved settings and recall against exact search).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from recsys.config import BaseConfig
from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import FingerprintMismatchError
from recsys.index.ann import FaissConfig, FaissIndex
from recsys.index.base import VectorIndex
from recsys.index.exact import ExactIndex
from recsys.types import FloatArray, IdMap, RowArray

RECALL_AT = (10, 50)
RECALL_QUERIES = 500
SCORE_TOLERANCE = 1e-6  # two libraries may differ by so much on one inner product
FAISS_FILE = "index.faiss"


class IndexConfig(BaseConfig):
    """Which index to build.

    ``auto`` searches exactly below ``exact_below`` vectors, where it is quick enough, and with FAISS from there on.
    """

    kind: Literal["auto", "exact", "faiss"] = "auto"
    exact_below: int = Field(default=50_000, ge=0)
    faiss: FaissConfig = FaissConfig()

    def kind_for(self, rows: int) -> Literal["exact", "faiss"]:
        """The kind that is built for this many rows."""
        if self.kind == "auto":
            return "exact" if rows < self.exact_below else "faiss"
        return self.kind


@dataclass(frozen=True, eq=False)
class IndexGeneration:
    """An opened generation.

    Attributes:
        table: ids and vectors; the row numbers of every search are its rows.
        index: searches them.
        metrics: what :func:`build_generation` measured.
    """

    table: EmbeddingTable
    index: VectorIndex
    metrics: Mapping[str, float]

    @classmethod
    def open(cls, path: Path) -> IndexGeneration:
        """Open what :func:`build_generation` wrote; FAISS files are memory-mapped."""
        table = EmbeddingTable.open(path / "table")
        made = json.loads((path / "generation.json").read_text())
        faiss_kind = made["kind"] == "faiss"
        index = FaissIndex.open(path / FAISS_FILE, len(table.ids)) if faiss_kind else ExactIndex(table)
        return cls(table, index, made["metrics"])

    @property
    def ids(self) -> IdMap:
        return self.table.ids

    @property
    def fingerprint(self) -> str:
        return self.table.fingerprint

    def search(self, queries: FloatArray, k: int, fingerprint: str) -> tuple[RowArray, FloatArray]:
        """The k most similar items of each query.

        Args:
            queries: float32 ``[q, d]``, unit length.
            k: number of neighbours.
            fingerprint: of the tower that made the queries.

        Returns:
            Rows int32 ``[q, k]``, best first, padded with ``NO_ROW``; inner products ``[q, k]``, ``-inf`` there.

        Raises:
            FingerprintMismatchError: the queries come from another tower.
        """
        if fingerprint != self.fingerprint:
            raise FingerprintMismatchError(self.fingerprint, fingerprint)
        return self.index.search(queries, k)


def build_generation(table: EmbeddingTable, config: IndexConfig, path: Path) -> dict[str, float]:
    """Build an index over a table, measure it against exact search, and write the generation into a directory.

    Returns:
        ``rows`` of the table, ``indexed`` vectors (the others are zero), ``recall@10`` and ``recall@50``.

    Raises:
        ArtifactError: a vector is neither of unit length nor zero.
    """
    table.save(path / "table")
    exact = ExactIndex(table)
    kind = config.kind_for(len(table.ids))
    filled = np.flatnonzero(table.vectors.any(axis=1))
    metrics: dict[str, float] = {"rows": len(table.ids), "indexed": len(filled)}
    if kind == "faiss":
        built = FaissIndex.build(table, config.faiss)
        built.save(path / FAISS_FILE)
        queries = np.random.default_rng(0).choice(filled, min(RECALL_QUERIES, len(filled)), replace=False)
        metrics |= recall_against_exact(built, exact, table, np.sort(queries).astype(np.int32))
    else:
        metrics |= {f"recall@{k}": 1.0 for k in RECALL_AT}
    made = {"kind": kind, "config": config.model_dump(mode="json"), "metrics": metrics}
    (path / "generation.json").write_text(json.dumps(made, indent=2))
    return metrics


def recall_against_exact(
    index: VectorIndex, exact: ExactIndex, table: EmbeddingTable, queries: RowArray
) -> dict[str, float]:
    """Share of the true k nearest neighbours that an index finds, the query itself left out.

    A neighbour counts as found when it is as near as the k-th true one, so ties do not depend on their order.

    Args:
        index: the index measured.
        exact: the truth.
        table: vectors of both.
        queries: rows whose vectors are searched, ``[q]``.
    """
    depth = max(RECALL_AT)
    vectors = np.asarray(table.vectors[queries])
    found = _without_self(*index.search(vectors, depth + 1), queries)
    truth = _without_self(*exact.search(vectors, depth + 1), queries)
    recall = {}
    for k in RECALL_AT:
        true = np.isfinite(truth[:, :k])
        worst = np.where(true, truth[:, :k], np.inf).min(axis=1, keepdims=True)
        recall[f"recall@{k}"] = float((found[:, :k] >= worst - SCORE_TOLERANCE).sum() / max(true.sum(), 1))
    return recall


def _without_self(rows: RowArray, scores: FloatArray, queries: RowArray) -> FloatArray:
    """Scores ``[q, k - 1]`` with the query's own entry (or, where it was not found, the last entry) taken out."""
    own = rows == queries[:, None]
    last = np.arange(rows.shape[1]) == rows.shape[1] - 1
    drop = np.where(own.any(axis=1, keepdims=True), own, last)
    kept: FloatArray = scores[~drop].reshape(len(rows), -1)
    return kept
