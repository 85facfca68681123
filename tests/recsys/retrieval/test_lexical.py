from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.exceptions import ArtifactError
from recsys.index.selection import Selection
from recsys.retrieval.lexical import LexicalConfig, LexicalIndex
from recsys.retrieval.words import words_of
from recsys.types import NO_ROW

NOTES = [
    ("手冲咖啡入门", "水温和粉水比，新手也能冲好一杯咖啡", ["咖啡"]),
    ("Pour-over coffee at home", "Water temperature matters for a clean cup of coffee", ["coffee", "brewing"]),
    ("海边的周末", "带上咖啡去海边看日落", []),
    (None, None, []),
    ("咖啡店测评", "这家咖啡店的拿铁 latte 很好喝 ☕️", ["咖啡", "拿铁"]),
    ("Weekend by the sea", "Sunset, sand and a latte", ["travel"]),
]
QUERIES = ["咖啡", "coffee latte", "海边 咖啡 咖啡", "周末去海边喝拿铁", "no such thing zzz", "", "的 the"]


def frame(notes: list[tuple[str | None, str | None, list[str]]]) -> pl.DataFrame:
    schema = {"title": pl.String, "text": pl.String, "tags": pl.List(pl.String)}
    return pl.DataFrame(notes, schema=schema, orient="row")


def words_of_note(note: tuple[str | None, str | None, list[str]]) -> list[str]:
    title, text, tags = note
    return words_of(f"{title or ''}\n{' '.join(tags)}\n{text or ''}")


@pytest.fixture(scope="module")
def index() -> LexicalIndex:
    return LexicalIndex.build(frame(NOTES), LexicalConfig())


@pytest.fixture(scope="module")
def many() -> LexicalIndex:
    """400 notes of few words, so that many scores are equal."""
    random = np.random.default_rng(0)
    vocabulary = ["咖啡", "海边", "日落", "拿铁", "sea", "latte", "sand", "tea"]
    return LexicalIndex.build(
        frame([(" ".join(random.choice(vocabulary, random.integers(1, 4))), None, []) for _ in range(400)]),
        LexicalConfig(),
    )


@pytest.mark.parametrize("config", [LexicalConfig(), LexicalConfig(k1=0.5, b=1), LexicalConfig(k1=2, b=0)])
def test_scores_are_those_of_the_formula(config: LexicalConfig) -> None:
    index = LexicalIndex.build(frame(NOTES), config)
    counts = [Counter(words_of_note(note)) for note in NOTES]
    mean = sum(count.total() for count in counts) / len(counts)
    rows, scores = index.search(QUERIES, len(NOTES))
    for query, text in enumerate(QUERIES):
        expected = np.zeros(len(NOTES))
        for word in words_of(text):
            containing = sum(word in count for count in counts)
            idf = math.log(1 + (len(NOTES) - containing + 0.5) / (containing + 0.5))
            for row, count in enumerate(counts):
                held_back = config.k1 * (1 - config.b + config.b * count.total() / mean)
                if count[word]:
                    expected[row] += idf * count[word] / (count[word] + held_back)
        order = [int(row) for row in np.argsort(-expected, kind="stable") if expected[row] > 0]
        assert rows[query].tolist() == order + [NO_ROW] * (len(NOTES) - len(order))
        np.testing.assert_allclose(scores[query, : len(order)], expected[order], rtol=1e-5)
        assert np.isneginf(scores[query, len(order) :]).all()


def test_a_query_finds_its_words_in_either_language_and_nothing_else(index: LexicalIndex) -> None:
    rows, _ = index.search(["咖啡", "brew coffees", "sunset"], 6)
    assert set(rows[0].tolist()) == {0, 2, 4, NO_ROW}
    assert rows[1].tolist() == [1] + 5 * [NO_ROW]  # by their stems
    assert rows[2].tolist() == [5] + 5 * [NO_ROW]


def test_queries_without_a_known_word_find_nothing(index: LexicalIndex) -> None:
    rows, scores = index.search(["", "的 the of", "zzz", "😀"], 3)
    assert (rows == NO_ROW).all()
    assert np.isneginf(scores).all()


def test_equal_scores_go_to_the_lower_row_however_few_are_asked_for(many: LexicalIndex) -> None:
    rows, scores = many.search(["咖啡 sea"], 400)
    found = rows[0] != NO_ROW
    assert 0 < found.sum() < 400
    assert len(np.unique(scores[0][found])) < found.sum() / 4
    pairs = list(zip(-scores[0][found], rows[0][found], strict=True))
    assert pairs == sorted(pairs)
    for k in (1, 7, 50):
        np.testing.assert_array_equal(many.search(["咖啡 sea"], k)[0], rows[:, :k])


@pytest.mark.parametrize("share", [0, 0.002, 0.01, 0.1, 1])
def test_a_selection_gives_the_whole_order_less_what_it_leaves_out(many: LexicalIndex, share: float) -> None:
    random = np.random.default_rng(1)
    queries = ["咖啡 sea", "日落", "latte tea"]
    allowed = random.random(400) < share
    excluded = [random.choice(400, size, replace=False).astype(np.int32) for size in (0, 30, 380)]
    whole, whole_scores = many.search(queries, 400)
    rows, scores = many.search(queries, 20, Selection(allowed, excluded))
    for query in range(3):
        gone = set(np.flatnonzero(~allowed).tolist()) | set(excluded[query].tolist())
        places = [p for p, row in enumerate(whole[query].tolist()) if row != NO_ROW and row not in gone][:20]
        assert rows[query].tolist() == whole[query][places].tolist() + (20 - len(places)) * [NO_ROW]
        np.testing.assert_array_equal(scores[query][: len(places)], whole_scores[query][places])


def test_a_batch_answers_as_single_queries_do(many: LexicalIndex) -> None:
    queries = ["咖啡", "", "sea sand sand", "拿铁日落"]
    rows, scores = many.search(queries, 9)
    for place, query in enumerate(queries):
        alone = many.search([query], 9)
        np.testing.assert_array_equal(alone[0][0], rows[place])
        np.testing.assert_array_equal(alone[1][0], scores[place])


def test_a_saved_index_answers_the_same_from_mapped_files_without_pickle(many: LexicalIndex, tmp_path: Path) -> None:
    many.save(tmp_path)
    opened = LexicalIndex.open(tmp_path)
    assert (len(opened), opened.vocabulary) == (400, 9)  # jieba does not know 拿铁: two words
    for a, b in zip(opened.search(["咖啡 sea", "tea"], 30), many.search(["咖啡 sea", "tea"], 30), strict=True):
        np.testing.assert_array_equal(a, b)
    assert isinstance(opened._index.scores["data"], np.memmap)
    assert {file.suffix for file in tmp_path.iterdir()} == {".npy", ".json"}
    for file in tmp_path.glob("*.npy"):
        np.load(file, allow_pickle=False)


def test_items_without_words_can_be_indexed_and_more_asked_than_there_are(tmp_path: Path) -> None:
    blank = LexicalIndex.build(frame([(None, None, []), ("😀", "", [])]), LexicalConfig())
    blank.save(tmp_path)
    for index in (blank, LexicalIndex.open(tmp_path)):
        assert len(index) == 2
        assert index.search(["咖啡"], 5)[0].tolist() == [[NO_ROW] * 5]
    assert blank.search([], 5)[0].shape == (0, 5)


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no lexical index"):
        LexicalIndex.open(tmp_path)
