"""Cascade: candidate sources, fusion, features, ranker and diversity in one order, for one user or for many at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import model_validator

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
from recsys.retrieval.ease import EaseConfig, EaseSource
from recsys.retrieval.fresh import FRESH, FreshConfig, FreshSource
from recsys.retrieval.fusion import Fused
from recsys.retrieval.item_to_item import ItemToItemConfig, ItemToItemSource
from recsys.retrieval.next_item import NextItemConfig, NextItemSource
from recsys.retrieval.popularity import PopularityConfig, PopularitySource
from recsys.retrieval.segment_popularity import SegmentPopularityConfig, SegmentPopularitySource
from recsys.retrieval.user_tower import USER_TOWER, UserTowerSource
from recsys.types import NO_ROW, Candidates, FloatArray, Histories, IdMap, RowArray

REQUESTS_PER_BLOCK = 512


WEIGHTS = {
    "item-knn": 0.3,
    "popularity": 0.1,
    "item-knn-long": 0,
    "transition-newest": 0,
    "next-item-long": 0,
    "text-only": 0,
    "image-only": 0,
}
ITEM_TO_ITEM = {
    "item-knn": ItemToItemConfig(similarity="cosine", last=5, decay=0.7),
    "item-knn-long": ItemToItemConfig(similarity="cosine", last=200, decay=0.99),
    "transition": ItemToItemConfig(),
    "transition-newest": ItemToItemConfig(last=1, window=2, window_decay=0.5, from_norm=1, to_norm=0),
}
NEXT_ITEM = {
    "next-item": NextItemConfig(),
    "next-item-long": NextItemConfig(last=50, decay=0.97, ridge=2000),
}


class CascadeConfig(BaseConfig):
    """Every stage's settings.

    ``retrieval.weights`` weighs the sources in the fusion, over :data:`WEIGHTS`. One of weight 0 finds no candidates:
    the ranker sees what it thinks of those of the others. With ``retrieval.quotas``, one for every source asked, they
    put candidates forward in turn instead, and weights above 0 do not matter.
    """

    retrieval: RetrievalConfig = RetrievalConfig()
    dense: DenseConfig = DenseConfig()
    item_to_item: Mapping[str, ItemToItemConfig] = ITEM_TO_ITEM
    next_item: Mapping[str, NextItemConfig] = NEXT_ITEM
    ease: Mapping[str, EaseConfig] = {}
    popularity: PopularityConfig = PopularityConfig()
    segment_popularity: Mapping[str, SegmentPopularityConfig] = {}
    fresh: FreshConfig | None = None  # a source beside the others, where there is such a section
    diversity: SSDConfig = SSDConfig()

    @model_validator(mode="after")
    def _weights_are_of_sources(self) -> CascadeConfig:
        sources = [
            "popularity",
            *self.item_to_item,
            *self.next_item,
            *self.ease,
            *self.segment_popularity,
            *([FRESH] if self.fresh is not None else []),
            "text-only",
            "image-only",
            "both",
            USER_TOWER,
        ]
        for name in (*self.retrieval.weights, *self.retrieval.quotas):
            if name not in sources:
                raise ValueError(f"there is no source {name!r} to weigh; there are {', '.join(sources)}")
        for name in self.retrieval.quotas:
            if self.weights.get(name, 1.0) == 0:
                raise ValueError(f"{name!r} has a quota, but a weight of 0, and so is not asked; give it another")
        for name in sources[:-1] if self.retrieval.quotas else []:  # whether there is a user tower is known later
            if self.weights.get(name, 1.0) > 0 and name not in self.retrieval.quotas:
                raise ValueError(f"{name!r} has no quota; give it one, or a weight of 0")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each source in the fusion: as given, else as in :data:`WEIGHTS`, else 1."""
        return WEIGHTS | self.retrieval.weights


def is_logged(events: pl.DataFrame) -> bool:
    """Whether a ranker can learn from what was shown and not clicked.

    That takes impressions of feed requests with their ids, and a timestamp on every event.
    """
    shown = (pl.col(schemas.EVENT_TYPE) == schemas.IMPRESSION) & (pl.col(schemas.SCENE) == "feed")
    asked = events.filter(shown, pl.col(schemas.REQUEST_ID).is_not_null())
    return not asked.is_empty() and events[schemas.TIMESTAMP].null_count() == 0


@dataclass(frozen=True, eq=False)
class Cascade:
    """What answers a feed request.

    Attributes:
        sources: by name: what the ranker hears.
        asked: those of them that are asked for candidates.
        assembler: features of candidates.
        table: the fused item vectors.
        config: see :class:`CascadeConfig`.
    """

    sources: Mapping[str, CandidateSource]
    asked: Mapping[str, CandidateSource]
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
        logged: bool,
        index: VectorIndex | None = None,
        user_tower: Path | None = None,
    ) -> Cascade:
        """Fit the sources and prepare the features.

        Args:
            data: the catalogue.
            learned: events the sources count; when a ranker is trained, only those before its labels.
            counted: events for counters as of each request's time; used where ``logged``.
            users_map: the users of the requests to come.
            tables: item vectors by read-out.
            config: of all stages.
            logged: whether the ranker learns from impressions, see :func:`is_logged`; decided once, when it is trained.
            index: over the fused vectors; default: exact search.
            user_tower: directory of a user tower that is a source too.
        """
        interactions = Interactions.of(learned, data.ids, users_map)
        fused = tables["fused"]
        both = DenseSource(fused, index or ExactIndex(fused), config.dense, "both")
        sources: list[CandidateSource] = [
            PopularitySource(interactions, config.popularity, "popularity"),
            *(ItemToItemSource(interactions, settings, name) for name, settings in config.item_to_item.items()),
            *(NextItemSource(interactions, settings, name) for name, settings in config.next_item.items()),
            *(EaseSource(interactions, settings, name) for name, settings in config.ease.items()),
            *(
                SegmentPopularitySource(
                    interactions, data.users if settings.of == "users" else data.items, settings, name
                )
                for name, settings in config.segment_popularity.items()
            ),
            *([FreshSource(learned, interactions, data.items, both, config.fresh)] if config.fresh is not None else []),
            DenseSource(tables["text"], ExactIndex(tables["text"]), config.dense, "text-only"),
            DenseSource(tables["image"], ExactIndex(tables["image"]), config.dense, "image-only"),
            both,
            *([UserTowerSource.open(user_tower)] if user_tower is not None else []),
        ]
        groups: list[FeatureGroup] = [
            SourceFeatures(sources, standings=not logged),
            ContentSimilarity(tables),
            AttributeAffinity(data.items),
            EngagementCounters(counted, data.items, data.ids, users_map)
            if logged
            else EngagementPatterns(interactions),
        ]
        weights = config.weights
        return cls(
            {source.name: source for source in sources},
            {source.name: source for source in sources if weights.get(source.name, 1.0) > 0},
            FeatureAssembler(groups),
            fused,
            config,
        )

    def retrieve(self, histories: Histories) -> Fused:
        """Candidates of all asked sources, fused."""
        return retrieve(list(self.asked.values()), histories, self.retrieval)

    @property
    def retrieval(self) -> RetrievalConfig:
        """How the asked sources are fused."""
        weights = {name: weight for name, weight in self.config.weights.items() if name in self.asked}
        return self.config.retrieval.model_copy(update={"weights": weights})

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
