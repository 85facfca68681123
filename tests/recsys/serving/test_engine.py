from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipelines.answers import open_engine
from recsys import schemas
from recsys.artifacts import ArtifactStore
from recsys.exceptions import ConfigError
from recsys.serving.engine import Engine
from recsys.types import ItemId, UserId


@pytest.fixture(scope="module")
def engine(tiny_home: Path) -> Engine:
    return open_engine(ArtifactStore(tiny_home))


@pytest.fixture(scope="module")
def regular(engine: Engine) -> UserId:
    """The user with the most engagements."""
    positive = engine.data.events.filter(pl.col(schemas.EVENT_TYPE).is_in(list(schemas.ACTION_WEIGHTS)))
    return UserId(positive[schemas.USER_ID].value_counts(sort=True)[schemas.USER_ID][0])


def test_related_items_are_the_exact_nearest(engine: Engine) -> None:
    vectors = np.asarray(engine.generation.table.vectors)
    similarity = vectors @ vectors[7]
    similarity[7] = -np.inf
    expected = np.argsort(-similarity, kind="stable")[:5]
    answers = engine.related(ItemId(engine.data.ids.ids[7]), 5)
    assert [answer.item_id for answer in answers] == engine.data.ids.externals(expected)
    np.testing.assert_allclose([answer.score for answer in answers], similarity[expected], atol=1e-5)


def test_a_text_finds_the_items_nearest_to_its_vector(engine: Engine) -> None:
    vector = engine.tower.encode_text(["咖啡"])[0]
    expected = np.argsort(-np.asarray(engine.generation.table.vectors) @ vector, kind="stable")[:3]
    assert [answer.item_id for answer in engine.search_text("咖啡", 3)] == engine.data.ids.externals(expected)


def test_recent_is_newest_first(engine: Engine, regular: UserId) -> None:
    positive = engine.data.events.filter(
        pl.col(schemas.EVENT_TYPE).is_in(list(schemas.ACTION_WEIGHTS)), pl.col(schemas.USER_ID) == regular
    )
    firsts = positive.group_by(schemas.ITEM_ID).agg(pl.col(schemas.TIMESTAMP).min()).sort(schemas.TIMESTAMP)
    assert engine.recent(regular, 3) == firsts[schemas.ITEM_ID].to_list()[::-1][:3]
    assert engine.recent(UserId("nobody"), 3) == []


def test_without_a_ranker_a_feed_keeps_the_retrieval_order(engine: Engine, regular: UserId) -> None:
    unranked = Engine(dataclasses.replace(engine.paths, ranker=None), engine.config)
    ranked_scores = [answer.score for answer in engine.feed(regular, 8)]
    fused_scores = [answer.score for answer in unranked.feed(regular, 8)]
    assert max(fused_scores) < 0.2  # reciprocal ranks: a few sources, 1 / 61 at most each
    assert len(ranked_scores) == len(fused_scores) == 8
    assert ranked_scores != fused_scores


def test_every_answer_says_who_found_it_and_how_high(engine: Engine, regular: UserId) -> None:
    known = {"both", "item-knn", "transition", "next-item", "popularity"}
    for answer in engine.feed(regular, 6):
        for reason in answer.why.split(", "):
            name, place = reason.split(" #")
            assert name in known
            assert 1 <= int(place) <= engine.config.retrieval.per_source


def test_an_unknown_item_and_a_blank_text_are_refused_by_name(engine: Engine) -> None:
    with pytest.raises(ConfigError, match="no item 'zzz'"):
        engine.related(ItemId("zzz"), 3)
    with pytest.raises(ConfigError, match="blank"):
        engine.search_text("  ", 3)
