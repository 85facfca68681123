"""Cascade: candidate sources, fusion, features, ranker and diversity in one order, for one user or for many at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys import schemas
from recsys.config import BaseConfig
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.embeddings.table import EmbeddingTable
from recsys.features.assembler import FeatureAssembler, FeatureGroup
from recsys.features.attributes import AttributeAffinity
from recsys.features.behaviour import EngagementPatterns
from recsys.features.content import ContentSimilarity
from recsys.features.engagement import EngagementCounters
from recsys.features.requests import RankingRequests
from recsys.features.sources import SourceFeatures
from recsys.index.base import VectorIndex
from recsys.index.exact import ExactIndex
from recsys.ranking.base import Ranker
from recsys.ranking.retrieved import RetrievalConfig, retrieve
from recsys.reranking.diversity import SSDConfig
from recsys.reranking.slate import Slate, diverse_slate
from recsys.retrieval.base import CandidateSource
from recsys.retrieval.dense import DenseConfig, DenseSource
from recsys.retrieval.item_to_item import ItemToItemConfig, ItemToItemSource
from recsys.retrieval.next_item import NextItemConfig, NextItemSource
from recsys.retrieval.popularity import PopularityConfig, PopularitySource
from recsys.types import NO_ROW, Candidates, FloatArray, Histories, IdMap, RowArray

REQUESTS_PER_BLOCK = 512


class CascadeConfig(BaseConfig):
    """Every stage's settings."""

    retrieval: RetrievalConfig = RetrievalConfig()
    dense: DenseConfig = DenseConfig()
    cosine: ItemToItemConfig = ItemToItemConfig(similarity="cosine", last=5, decay=0.7)
    transition: ItemToItemConfig = ItemToItemConfig()
    next_item: NextItemConfig = NextItemConfig()
    popularity: PopularityConfig = PopularityConfig()
    diversity: SSDConfig = SSDConfig()


def is_logged(events: pl.DataFrame) -> bool:
    """Whether the events hold impressions, so that a ranker can learn from what was shown and not clicked."""
    return bool((events[schemas.EVENT_TYPE] == schemas.IMPRESSION).any())


@dataclass(frozen=True, eq=False)
class Cascade:
    """What answers a feed request.

    Attributes:
        sources: by name; all of them are asked for candidates.
        single_modality: dense sources by text alone and by picture alone: features and baselines, not asked.
        assembler: features of candidates.
        table: the fused item vectors.
        config: see :class:`CascadeConfig`.
    """

    sources: Mapping[str, CandidateSource]
    single_modality: Mapping[str, CandidateSource]
    assembler: FeatureAssembler
    table: EmbeddingTable
    config: CascadeConfig

    @classmethod
    def fit(
        cls,
        data: Dataset,
        learned: pl.DataFrame,
        counted: pl.DataFrame,
        users_map: IdMap,
        tables: Mapping[str, EmbeddingTable],
        config: CascadeConfig,
        index: VectorIndex | None = None,
    ) -> Cascade:
        """Fit the sources and prepare the features.

        Args:
            data: the catalogue.
            learned: events the sources count; when a ranker is trained, only those before its labels.
            counted: logged events for counters as of each request's time; used where impressions were logged.
            users_map: the users of the requests to come.
            tables: item vectors by read-out.
            config: of all stages.
            index: over the fused vectors; default: exact search.
        """
        interactions = Interactions.of(learned, data.ids, users_map)
        fused = tables["fused"]
        asked: list[CandidateSource] = [
            DenseSource(fused, index or ExactIndex(fused), config.dense, "both"),
            ItemToItemSource(interactions, config.cosine, "item-knn"),
            ItemToItemSource(interactions, config.transition, "transition"),
            NextItemSource(interactions, config.next_item, "next-item"),
            PopularitySource(interactions, config.popularity, "popularity"),
        ]
        single = [
            DenseSource(tables[name], ExactIndex(tables[name]), config.dense, f"{name}-only")
            for name in ("text", "image")
        ]
        logged = is_logged(counted)
        groups: list[FeatureGroup] = [
            SourceFeatures([*asked, *single], standings=not logged),
            ContentSimilarity(tables),
            AttributeAffinity(data.items),
            EngagementCounters(counted, data.items, data.ids, users_map)
            if logged
            else EngagementPatterns(interactions),
        ]
        return cls(
            {source.name: source for source in asked},
            {source.name: source for source in single},
            FeatureAssembler(groups),
            fused,
            config,
        )

    def retrieve(self, histories: Histories) -> Candidates:
        """Candidates of all sources, fused."""
        return retrieve(list(self.sources.values()), histories, self.config.retrieval)

    def places(self, histories: Histories) -> dict[str, Candidates]:
        """What each source alone would answer, by its name."""
        return {
            name: source.retrieve(histories, self.config.retrieval.per_source) for name, source in self.sources.items()
        }

    def score(self, requests: RankingRequests, ranker: Ranker) -> FloatArray:
        """The ranker's scores of the candidates, float32 ``[n, m]``."""
        parts = [ranker.score(self.assembler.assemble(block)) for _, block in requests.blocks(REQUESTS_PER_BLOCK)]
        return np.concatenate([*parts, np.empty((0, requests.rows.shape[1]), np.float32)])

    def rank(self, requests: RankingRequests, ranker: Ranker) -> Candidates:
        """The candidates of each request in the ranker's order."""
        return in_order(requests.rows, self.score(requests, ranker), "ranked")

    def slate(self, candidates: Candidates, request: int, size: int) -> Slate:
        """A varied slate from the ranked candidates of one request."""
        there = candidates.rows[request] != NO_ROW
        rows, scores = candidates.rows[request][there], candidates.scores[request][there]
        return diverse_slate(rows, scores, np.asarray(self.table.vectors[rows]), size, self.config.diversity)


def in_order(rows: RowArray, scores: FloatArray, source: str) -> Candidates:
    """Candidates by falling score; equal ones keep their order."""
    order = np.argsort(-scores, axis=1, kind="stable")
    return Candidates(np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1), source)
