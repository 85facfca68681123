from __future__ import annotations

import dataclasses
import shutil
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.answers import open_engine
from recsys import schemas
from recsys.artifacts import ArtifactStore
from recsys.config import BaseConfig
from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import ArtifactError, ConfigError, FingerprintMismatchError
from recsys.index.generation import IndexConfig, build_generation
from recsys.retrieval.filters import parse_filter
from recsys.retrieval.hybrid import DENSE, HybridConfig, hybrid_search
from recsys.retrieval.lexical import LexicalConfig, LexicalIndex
from recsys.serving.engine import Engine
from recsys.serving.explanation import Outcome
from recsys.towers.base import item_texts
from recsys.types import Candidates, FloatArray, ItemId, UserId


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


class Edition(BaseConfig):
    number: int


@dataclasses.dataclass
class Home:
    """A home of its own, where editions of the index are published: the same items and tower, vectors mixed up."""

    store: ArtifactStore
    table: EmbeddingTable

    def mixed(self, number: int) -> FloatArray:
        order = np.random.default_rng(number).permutation(len(self.table.ids))
        return np.asarray(self.table.vectors[order], np.float32)

    def publish(self, number: int, fingerprint: str | None = None, items: int | None = None) -> None:
        ids = self.table.ids.of_rows(slice(items))
        table = EmbeddingTable(ids, self.mixed(number)[:items], fingerprint or self.table.fingerprint)
        settings = IndexConfig(kind="exact")
        edition = Edition(number=number)
        self.store.build("index", 9, edition, {}, lambda work: build_generation(table, settings, work))


@pytest.fixture
def home(tiny_home: Path, engine: Engine, tmp_path: Path) -> Home:
    shutil.copytree(tiny_home, tmp_path / "home")
    return Home(ArtifactStore(tmp_path / "home"), engine.generation.table)


def neighbours(engine: Engine, vectors: FloatArray, row: int) -> list[str]:
    """The five nearest to an item, worked out."""
    near = np.argsort(-(vectors @ vectors[row]), kind="stable")
    return engine.data.ids.externals(near[near != row][:5])


def test_a_published_generation_is_taken_up_when_the_engine_is_told(home: Home, regular: UserId) -> None:
    engine = open_engine(home.store)
    item = ItemId(engine.data.ids[7])
    before, feed = engine.related(item, 5), engine.feed(regular, 8)
    home.publish(1)
    assert (engine.related(item, 5), engine.feed(regular, 8)) == (before, feed)
    assert (engine.refresh(), engine.refresh()) == (True, False)
    assert [answer.item_id for answer in engine.related(item, 5)] == neighbours(engine, home.mixed(1), 7)
    assert engine.feed(regular, 8) != feed  # its source of vectors searches the new one, too
    home.store.rollback("index")
    assert engine.refresh()
    assert (engine.related(item, 5), engine.feed(regular, 8)) == (before, feed)


def test_a_generation_that_does_not_fit_is_refused_and_the_old_one_answers(home: Home) -> None:
    engine = open_engine(home.store)
    item = ItemId(engine.data.ids[7])
    before = engine.related(item, 5)
    home.publish(1, fingerprint="another")
    with pytest.raises(FingerprintMismatchError, match="built with tower another"):
        engine.refresh()
    home.publish(2, items=299)
    with pytest.raises(ArtifactError, match="holds 299 items, not the 300 here"):
        engine.refresh()
    assert engine.related(item, 5) == before
    with pytest.raises(ArtifactError, match="299 items"):
        Engine(engine.paths, engine.config)
    home.publish(3)
    assert engine.refresh()


def test_an_item_that_was_rejected_is_not_there_for_a_reason(home: Home, regular: UserId) -> None:
    rows = [
        {"file": "clicks.csv", "row": 3, "reason": "unknown item", "record": '{"user_id":"u001","item_id":"x1"}'},
        {"file": "notes.parquet", "row": 8, "reason": "neither text nor picture", "record": '{"item_id":"x1"}'},
    ]
    rejected = pa.Table.from_pylist(rows, schema=schemas.REJECTED)
    pq.write_table(rejected, home.store.current("dataset").path / "rejected.parquet")
    engine = open_engine(home.store)
    with pytest.raises(ConfigError, match=r"'x1': row 8 of notes\.parquet was rejected \(neither text nor picture\)"):
        engine.explain(regular, ItemId("x1"), 5)
    with pytest.raises(ConfigError, match=r"no item 'x'\."):
        engine.explain(regular, ItemId("x"), 5)


def test_no_answer_fails_or_mixes_generations_while_they_are_taken_up(home: Home) -> None:
    """Each edition gives an item other neighbours: an answer that is no edition's own is a mixed one."""
    engine = open_engine(home.store)
    item = ItemId(engine.data.ids[7])
    possible = {tuple(answer.item_id for answer in engine.related(item, 5))}
    possible |= {tuple(neighbours(engine, home.mixed(number), 7)) for number in range(1, 7)}
    assert len(possible) == 7
    stop, wrong, seen = threading.Event(), list[object](), set[tuple[str, ...]]()

    def ask() -> None:
        while not stop.is_set():
            try:
                answer = tuple(str(answer.item_id) for answer in engine.related(item, 5))
            except Exception as error:
                wrong.append(error)
                return
            seen.add(answer)
            if answer not in possible:
                wrong.append(answer)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(1, 7):
        home.publish(number)
        assert engine.refresh()
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(seen) > 3


def test_a_reader_who_has_not_engaged_yet_is_known_and_explained(engine: Engine) -> None:
    positive = engine.data.events.filter(pl.col(schemas.EVENT_TYPE).is_in(list(schemas.ACTION_WEIGHTS)))
    idle = sorted(set(engine.data.users[schemas.USER_ID]) - set(positive[schemas.USER_ID]))
    newcomer = UserId(idle[0])
    first = engine.feed(newcomer, 3)[0]
    explanation = engine.explain(newcomer, first.item_id, 3)
    assert (explanation.outcome, explanation.final) == (Outcome.SHOWN, 1)
    assert [view.source for view in explanation.views if view.place] == ["popularity"]
    with pytest.raises(ConfigError, match="no user 'nobody'"):
        engine.explain(UserId("nobody"), first.item_id, 3)


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
