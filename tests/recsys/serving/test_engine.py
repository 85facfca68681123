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
from recsys.retrieval.filters import parse_filter
from recsys.retrieval.hybrid import DENSE, HybridConfig, hybrid_search
from recsys.retrieval.lexical import LexicalConfig, LexicalIndex
from recsys.serving.engine import Engine
from recsys.towers.base import item_texts
from recsys.types import Candidates, ItemId, UserId


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
    answers = engine.related(ItemId(engine.data.ids[7]), 5)
    assert [answer.item_id for answer in answers] == engine.data.ids.externals(expected)
    np.testing.assert_allclose([answer.score for answer in answers], similarity[expected], atol=1e-5)


def test_without_a_lexical_index_a_text_finds_the_items_nearest_to_its_vector(engine: Engine) -> None:
    wordless = Engine(dataclasses.replace(engine.paths, lexical=None), engine.config)
    vector = engine.tower.encode_text(["咖啡"])[0]
    expected = np.argsort(-np.asarray(engine.generation.table.vectors) @ vector, kind="stable")[:3]
    answers = wordless.search_text("咖啡", 3)
    assert [answer.item_id for answer in answers] == engine.data.ids.externals(expected)
    assert {answer.why for answer in answers} == {"close to the text"}


@pytest.mark.parametrize("share", [None, 0.0, 0.4, 1.0])
def test_a_text_finds_what_words_and_vectors_find_together(engine: Engine, share: float | None) -> None:
    hybrid = Engine(engine.paths, engine.config, HybridConfig(depth=60, share=share))
    words = LexicalIndex.build(engine.data.items, LexicalConfig()).candidates(["手冲咖啡"], 60)
    vectors = np.asarray(engine.generation.table.vectors) @ engine.tower.encode_text(["手冲咖啡"])[0]
    nearest = np.argsort(-vectors, kind="stable")[:60]
    dense = Candidates(nearest[None].astype(np.int32), vectors[nearest][None], DENSE)
    expected = hybrid_search(words, dense, 8, share)
    answers = hybrid.search_text("手冲咖啡", 8)
    assert [answer.item_id for answer in answers] == engine.data.ids.externals(expected.rows[0])
    np.testing.assert_allclose([answer.score for answer in answers], expected.scores[0], atol=1e-5)
    for answer in answers:
        row = engine.data.ids.row(answer.item_id)
        for reason in answer.why.split(", "):
            source, place = reason.split(" #")
            assert {"words": words, "dense": dense}[source].rows[0, int(place) - 1] == row
    assert share == 0 or any("words #1" in answer.why for answer in answers)


def test_a_text_of_unknown_words_is_answered_by_its_vector(engine: Engine) -> None:
    answers = engine.search_text("zzz", 3)
    assert [answer.why for answer in answers] == ["dense #1", "dense #2", "dense #3"]


def test_an_items_own_text_and_picture_together_find_the_item(engine: Engine) -> None:
    row = int(np.flatnonzero(engine.data.items["n_images"].to_numpy() > 0)[3])
    text, [cover] = item_texts(engine.data.items)[row], engine.data.covers([row])
    assert text is not None
    first, *others = engine.search(text, cover, 5)
    assert first.item_id == engine.data.ids[row]
    assert first.score == pytest.approx(1, abs=1e-4)
    assert first.why == "close to the text and the picture"
    assert max(answer.score for answer in others) < 1
    assert engine.search("咖啡", cover, 40) != engine.search("海边", cover, 40) != engine.search(None, cover, 40)


def test_search_takes_a_text_or_a_picture_alone(engine: Engine) -> None:
    cover = next(cover for cover in engine.data.covers(range(20)) if cover)
    assert engine.search("咖啡", None, 4) == engine.search_text("咖啡", 4)
    assert engine.search(None, cover, 4) == engine.search_image(cover, 4)
    with pytest.raises(ConfigError, match="nothing to search for"):
        engine.search(None, None, 4)
    with pytest.raises(ConfigError, match="blank"):
        engine.search(" ", cover, 4)
    with pytest.raises(ConfigError, match="looked at again"):
        engine.search("咖啡", cover, 4, rerank=True)


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


def test_only_what_satisfies_the_filter_is_found_whichever_way_it_is_asked(engine: Engine) -> None:
    category = engine.data.items["category"].mode()[0]
    where = parse_filter(f"category = '{category}'")
    inside = {str(item) for item in engine.data.items.filter(pl.col("category") == category)["item_id"]}
    some = sorted(inside)[0]
    row = engine.data.ids.row(some)
    title = engine.data.items["title"][row]
    (picture,) = engine.data.covers([next(r for r in range(300) if engine.data.items["n_images"][r])])
    assert picture is not None
    for answers in (
        engine.search(title, None, 8, where=where),
        engine.search(None, picture, 8, where=where),
        engine.search(title, picture, 8, where=where),
        engine.related(ItemId(some), 8, where),
    ):
        assert len(answers) == 8
        assert {answer.item_id for answer in answers} <= inside
    with pytest.raises(ConfigError, match="colour"):
        engine.search(title, None, 3, where=parse_filter("colour = red"))
