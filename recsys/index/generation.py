"""IndexGeneration: one published index, bound to its embedding table, ids and tower, with its measured recall.

A generation is a directory: ``table/`` (vectors, ids, fingerprint), ``index.faiss`` (not for exact search) and
``generation.json`` (resolved settings, why this kind, how search was tuned, and recall against exact search).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from recsys.config import BaseConfig
from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import FingerprintMismatchError
from recsys.index.ann import FaissConfig, FaissIndex
from recsys.index.base import VectorIndex
from recsys.index.choice import Choice, choose
from recsys.index.exact import ExactIndex
from recsys.index.kinds import Effort
from recsys.index.recall import recall, true_scores, without_self
from recsys.index.selection import Selection
from recsys.index.tuning import tune
from recsys.types import FloatArray, IdMap, RowArray

RECALL_AT = (10, 50)
RECALL_QUERIES = 500  # for tuning, and as many others for the recall that is reported
FAISS_FILE = "index.faiss"
GENERATION_FILE = "generation.json"


class IndexConfig(BaseConfig):
    """Which index to build, and what its search is tuned to.

    ``auto`` searches exactly below ``exact_below`` vectors, where it is quick enough, and from there on chooses the
    kind of FAISS index by width, memory and recall target. ``faiss`` builds what ``faiss`` says.
    """

    kind: Literal["auto", "exact", "faiss"] = "auto"
    exact_below: int = Field(default=50_000, ge=0)
    recall_target: float = Field(default=0.95, gt=0, le=1)  # of k neighbours: tuned to, and read for under a filter
    k: int = Field(default=100, ge=1)
    memory_gb: float | None = Field(default=None, gt=0)  # that ``auto`` may use; default: no bound
    faiss: FaissConfig = FaissConfig()

    def choice(self, rows: int, width: int) -> Choice:
        """What is built for so many vectors, and why."""
        if self.kind == "auto":
            return choose(rows, width, self.recall_target, self.memory_gb, self.exact_below)
        kind = "exact" if self.kind == "exact" else self.faiss.kind
        return Choice(kind, f"{kind}, as configured")


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
        made = json.loads((path / GENERATION_FILE).read_text())
        if made["kind"] == "exact":
            return cls(table, ExactIndex(table), made["metrics"])
        index = FaissIndex.open(path / FAISS_FILE, table, made["config"]["recall_target"])
        return cls(table, index, made["metrics"])

    @property
    def ids(self) -> IdMap:
        return self.table.ids

    @property
    def fingerprint(self) -> str:
        return self.table.fingerprint

    def search(
        self, queries: FloatArray, k: int, fingerprint: str, selection: Selection | None = None
    ) -> tuple[RowArray, FloatArray]:
        """The k most similar items of each query.

        Args:
            queries: float32 ``[q, d]``, unit length.
            k: number of neighbours.
            fingerprint: of the tower that made the queries.
            selection: rows that may be returned; default: all.

        Returns:
            Rows int32 ``[q, k]``, best first, padded with ``NO_ROW``; inner products ``[q, k]``, ``-inf`` there.

        Raises:
            FingerprintMismatchError: the queries come from another tower.
        """
        if fingerprint != self.fingerprint:
            raise FingerprintMismatchError(self.fingerprint, fingerprint)
        return self.index.search(queries, k, selection)


def build_generation(table: EmbeddingTable, config: IndexConfig, path: Path) -> dict[str, float]:
    """Build an index over a table, tune it, measure it against exact search, and write the generation into a directory.

    Returns:
        ``rows`` of the table, ``indexed`` vectors (the others are zero), ``recall@10`` and ``recall@50`` of queries
        that it was not tuned by.

    Raises:
        ArtifactError: a vector is neither of unit length nor zero.
    """
    table.save(path / "table")
    exact = ExactIndex(table)
    filled = np.flatnonzero(table.vectors.any(axis=1)).astype(np.int32)
    choice = config.choice(len(table.ids), table.width)
    made: dict[str, Any] = {"kind": choice.kind, "reason": choice.reason, "config": config.model_dump(mode="json")}
    metrics: dict[str, float] = {"rows": len(table.ids), "indexed": len(filled)}
    if choice.kind == "exact":
        metrics |= {f"recall@{k}": 1.0 for k in RECALL_AT}
    else:
        settings = config.faiss.model_copy(update={"kind": choice.kind})
        index = FaissIndex.build(table, settings, config.recall_target)
        sample = np.random.default_rng(0).permutation(filled)[: 2 * RECALL_QUERIES]
        held_out, tuning = np.sort(sample[: len(sample) - len(sample) // 2]), np.sort(sample[len(sample) // 2 :])
        if settings.tunable and len(tuning):
            tuned = tune(index, exact, table.vectors, tuning, config.k, config.recall_target)
            index = index.with_effort(Effort(tuned.chosen.breadth, tuned.chosen.refine))
            made["tuning"] = tuned.model_dump(mode="json")
        index.save(path / FAISS_FILE)
        metrics |= recall_against_exact(index, exact, table, held_out)
    (path / GENERATION_FILE).write_text(json.dumps(made | {"metrics": metrics}, indent=2))
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
    rows, _ = index.search(vectors, depth + 1)
    found = without_self(rows, true_scores(table.vectors, vectors, rows), queries)
    truth = without_self(*exact.search(vectors, depth + 1), queries)
    return {f"recall@{k}": recall(found[:, :k], truth[:, :k]) for k in RECALL_AT}
