from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from recsys import schemas
from recsys.artifacts import ArtifactStore
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.embeddings.encode import open_tables
from recsys.features.requests import RankingRequests
from recsys.ranking.retrieved import RetrievalConfig
from recsys.retrieval.fresh import FreshConfig
from recsys.retrieval.fusion import reciprocal_rank_fusion
from recsys.retrieval.quota import quota_merge
from recsys.retrieval.segment_popularity import SegmentPopularityConfig
from recsys.serving.cascade import WEIGHTS, Cascade, CascadeConfig, in_order, is_logged
from recsys.types import NO_ROW, FloatArray


@pytest.fixture(scope="module")
def interactions(tiny_home: Path) -> Interactions:
    data = Dataset(ArtifactStore(tiny_home).current("dataset").path)
    return Interactions.of(data.events, data.ids)


def cascade(home: Path, interactions: Interactions, config: CascadeConfig) -> Cascade:
    store = ArtifactStore(home)
    data = Dataset(store.current("dataset").path)
    tables = open_tables(store.current("embeddings").path)
    return Cascade.fit(data, data.events, data.events, interactions.users_map, tables, config, logged=True)


class Reversed:
    """A ranker that likes what retrieval put last."""

    names = ()

    def score(self, features: FloatArray) -> FloatArray:
        n, m, _ = features.shape
        return np.tile(np.arange(m, dtype=np.float32), (n, 1))

    def save(self, path: Path) -> None:
        raise AssertionError("nothing to save")


def test_a_source_of_weight_0_is_heard_but_not_asked(tiny_home: Path, interactions: Interactions) -> None:
    built = cascade(tiny_home, interactions, CascadeConfig(retrieval=RetrievalConfig(weights={"popularity": 0})))
    assert set(built.asked) == {"both", "item-knn", "transition", "next-item"}
    assert "score:popularity" in built.assembler.names
    assert "score:image-only" in built.assembler.names


def test_candidates_are_the_weighted_fusion_of_the_asked_sources(tiny_home: Path, interactions: Interactions) -> None:
    built = cascade(tiny_home, interactions, CascadeConfig())
    histories = interactions.histories().slice(0, 9)
    lists = [source.retrieve(histories, 200) for source in built.asked.values()]
    expected = reciprocal_rank_fusion(lists, 200, {"item-knn": 0.3, "popularity": 0.1})
    np.testing.assert_array_equal(built.retrieve(histories).rows, expected.rows)


def test_more_sources_stand_beside_the_others_where_they_are_configured(
    tiny_home: Path, interactions: Interactions
) -> None:
    segments = {
        "by-language": SegmentPopularityConfig(of="users", attribute="language", min_engagements=20),
        "by-category": SegmentPopularityConfig(min_engagements=20),
    }
    config = CascadeConfig(
        fresh=FreshConfig(),
        segment_popularity=segments,
        retrieval=RetrievalConfig(weights={"by-category": 0}),
    )
    built = cascade(tiny_home, interactions, config)
    assert set(built.asked) == {"both", "item-knn", "transition", "next-item", "popularity", "by-language", "fresh"}
    assert {f"score:{name}" for name in ("by-language", "by-category", "fresh")} <= set(built.assembler.names)
    data = Dataset(ArtifactStore(tiny_home).current("dataset").path)
    newest = data.events[schemas.TIMESTAMP].max()
    assert isinstance(newest, datetime)
    published = data.items[schemas.CREATED_AT].to_numpy()
    languages = dict(data.users.select(schemas.USER_ID, pl.col(schemas.ATTRIBUTES).map.get("language")).iter_rows())
    found = built.retrieve(interactions.histories())
    fresh, by_language = (
        next(part for part in found.lists if part.source == name) for name in ("fresh", "by-language")
    )
    proposed = fresh.rows[fresh.rows != NO_ROW]
    assert len(proposed) > 500
    assert (published[proposed] >= np.datetime64(newest.replace(tzinfo=None) - timedelta(days=7))).all()
    zh, en = (np.flatnonzero([languages[user] == of for user in interactions.users_map]) for of in ("zh", "en"))
    best = [{int(row) for row in by_language.rows[users, :3].ravel()} for users in (zh, en)]
    assert best[0] != best[1]


def test_with_quotas_the_sources_are_asked_in_turn(tiny_home: Path, interactions: Interactions) -> None:
    quotas = {"popularity": 10, "item-knn": 20, "transition": 20, "next-item": 20, "both": 30}
    config = CascadeConfig(retrieval=RetrievalConfig(candidates=120, quotas=quotas))
    built, histories = cascade(tiny_home, interactions, config), interactions.histories().slice(0, 9)
    lists = [source.retrieve(histories, 200) for source in built.asked.values()]
    expected = quota_merge(lists, 120, quotas)
    np.testing.assert_array_equal(built.retrieve(histories).rows, expected.rows)


def test_quotas_that_cannot_hold_are_refused_by_name() -> None:
    def refused(quotas: dict[str, int], **settings: Any) -> str:
        with pytest.raises(ValidationError) as caught:
            CascadeConfig(retrieval=RetrievalConfig(quotas=quotas, **settings))
        return str(caught.value)

    all_of_them = {"popularity": 10, "item-knn": 20, "transition": 20, "next-item": 20, "both": 30}
    assert "'item-knn' has no quota" in refused({"popularity": 1})
    assert "'both' has a quota, but a weight of 0" in refused(all_of_them, weights={"both": 0})
    assert "no source 'boht'" in refused({"boht": 1})
    assert "ask for 100 places of 90" in refused(all_of_them, candidates=90)


def test_the_ranker_decides_the_order_of_all_candidates(tiny_home: Path, interactions: Interactions) -> None:
    built = cascade(tiny_home, interactions, CascadeConfig())
    histories = interactions.histories().slice(0, 4)
    found = built.retrieve(histories).top(30)
    times = np.full(4, interactions.times.max() + 1)
    ranked = built.rank(RankingRequests(histories, np.arange(4, dtype=np.int32), times, found.rows), Reversed())
    np.testing.assert_array_equal(ranked.rows, found.rows[:, ::-1])


def test_equal_scores_keep_their_order_and_padding_goes_last() -> None:
    rows = np.array([[4, 7, 2, NO_ROW]], np.int32)
    ranked = in_order(rows, np.array([[1, 3, 1, -np.inf]], np.float32), "ranked")
    np.testing.assert_array_equal(ranked.rows, [[7, 4, 2, NO_ROW]])


def test_logged_means_that_impressions_were_logged(tiny_home: Path) -> None:
    events = Dataset(ArtifactStore(tiny_home).current("dataset").path).events
    assert is_logged(events)
    assert not is_logged(events.filter(events["event_type"] == "click"))


def test_weights_that_are_not_given_keep_their_defaults() -> None:
    given = CascadeConfig(retrieval=RetrievalConfig(weights={"both": 3.0}))
    assert given.weights == WEIGHTS | {"both": 3.0}
    assert given.weights["text-only"] == 0
