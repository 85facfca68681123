"""Jobs: a lexical index over the words of items, and how much its candidates count beside those of the vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recsys.artifacts import Artifact, ArtifactStore, made_from
from recsys.data.dataset import Dataset
from recsys.embeddings.encode import open_tables
from recsys.evaluation.judged_queries import JudgedQueries
from recsys.index.exact import ExactIndex
from recsys.retrieval.hybrid import DENSE, HybridConfig, fit_share
from recsys.retrieval.lexical import LexicalConfig, LexicalIndex
from recsys.towers.families import open_tower
from recsys.types import Candidates

KIND, VERSION = "lexical", 1
HYBRID, HYBRID_VERSION = "hybrid", 1
MOST_QUERIES = 2000


def build_lexical(store: ArtifactStore, dataset: Artifact, config: LexicalConfig) -> tuple[Artifact, bool]:
    """Count the words of all items."""

    def build(work: Path) -> dict[str, Any]:
        index = LexicalIndex.build(Dataset(dataset.path).items, config)
        index.save(work)
        return {"items": len(index), "words": index.vocabulary}

    return store.build(KIND, VERSION, config, {"dataset": dataset}, build)


def fit_hybrid(
    store: ArtifactStore,
    dataset: Artifact,
    tower: Artifact,
    embeddings: Artifact,
    lexical: Artifact,
    config: HybridConfig,
) -> tuple[Artifact, bool]:
    """Fit the share of the words to the judged queries, the fused vectors being searched exactly.

    The metrics are the ``share`` and, of every share that was tried, the ``ndcg@10``. A share that is set in the config
    is taken as it is; without judged queries it is ``None``.

    Raises:
        ArtifactError: the vectors were made by another tower, or of another data set.
    """

    def build(work: Path) -> dict[str, Any]:
        if config.share is not None:
            return {"share": config.share}
        data = Dataset(dataset.path)
        queries = JudgedQueries.of(data, MOST_QUERIES)
        if not len(queries):
            return {"queries": 0, "share": None}
        words = LexicalIndex.open(lexical.path).candidates(queries.texts, config.depth)
        vectors = open_tower(tower.path, embeddings.manifest.config["width"]).encode_text(queries.texts)
        found = ExactIndex(open_tables(embeddings.path)["fused"]).search(vectors, config.depth)
        fitted = fit_share(words, Candidates(*found, DENSE), queries.judgements)
        curve = {str(share): value for share, value in fitted.curve.items()}
        return {"queries": len(queries), "share": fitted.share, "ndcg@10": curve}

    made_from(embeddings, {"dataset": dataset, "tower": tower}, "Run `recsys embed`.")
    parents = {"dataset": dataset, "tower": tower, "embeddings": embeddings, "lexical": lexical}
    return store.build(HYBRID, HYBRID_VERSION, config, parents, build)
