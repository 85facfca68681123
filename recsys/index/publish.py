"""What a generation must show, on the files as they were written, before it is put to use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field

from recsys.config import BaseConfig
from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import ArtifactError
from recsys.index.base import VectorIndex
from recsys.index.exact import ExactIndex
from recsys.index.generation import IndexGeneration
from recsys.index.recall import recall, true_scores

QUERIES, DEPTH = 200, 10


class PublishConfig(BaseConfig):
    """Bounds a generation is held to.

    ``least_recall`` is recall@10 against exact search. ``least_share`` guards against half a catalogue: the share of
    the number of items in use now that the new generation must have.
    """

    least_recall: float = Field(default=0.8, ge=0, le=1)
    least_share: float = Field(default=0.5, ge=0)


def validate_generation(path: Path, table: EmbeddingTable, config: PublishConfig, in_use: int = 0) -> None:
    """Open a written generation and hold it against the table it was built from.

    Args:
        path: directory of the generation.
        table: what it should hold.
        config: the bounds.
        in_use: number of items of the generation in use now.

    Raises:
        ArtifactError: saying everything that is wrong with it.
    """
    generation = IndexGeneration.open(path)
    wrong = []
    if generation.fingerprint != table.fingerprint:
        wrong.append(f"it is of tower {generation.fingerprint}, not {table.fingerprint}")
    if not generation.ids.strings.equals(table.ids.strings) or len(generation.index) != len(table.ids):
        wrong.append(
            f"it holds {len(generation.index)} rows of other items than the {len(table.ids)} it was built from"
        )
    else:
        reached = _recall(generation.index, table)
        if reached < config.least_recall:
            wrong.append(f"its recall@{DEPTH} is {reached:.3f}, below {config.least_recall}")
    if len(table.ids) < config.least_share * in_use:
        wrong.append(f"it has {len(table.ids)} items, the one in use {in_use}")
    if wrong:
        raise ArtifactError(
            f"The generation is not put to use: {'; '.join(wrong)}.",
            "The one in use stays. Mend the cause, or change the bounds (publish.least_recall, publish.least_share).",
        )


def _recall(index: VectorIndex, table: EmbeddingTable) -> float:
    """Share of the true nearest items that an index finds for items of the table, whatever scores it claims."""
    filled = np.flatnonzero(table.vectors.any(axis=1))
    chosen = np.random.default_rng(1).choice(filled, min(QUERIES, len(filled)), replace=False)
    queries = np.asarray(table.vectors[np.sort(chosen)])
    rows, _ = index.search(queries, DEPTH)
    _, truth = ExactIndex(table).search(queries, DEPTH)
    return recall(true_scores(table.vectors, queries, rows), truth)
