import numpy as np
import pytest

from recsys import schemas
from recsys.data.captions import NO_CAPTION, Captions
from recsys.data.dataset import Dataset, DatasetWriter
from recsys.types import NO_ROW


def query(query_id, item, text=None, grade=3, language=None):
    return {
        schemas.QUERY_ID: query_id,
        schemas.QUERY: text or f"text of {query_id}",
        schemas.LANGUAGE: language,
        schemas.ITEM_ID: item,
        schemas.GRADE: grade,
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    with DatasetWriter(path) as writer:
        writer.write("items", [{schemas.ITEM_ID: item, schemas.TITLE: "t"} for item in "abcdef"])
        writer.write(
            "queries",
            [
                query("1", "d", language="en"),
                query("2", "a", "red bicycle", language="en"),
                query("3", "a", "wrong", grade=0),
                query("4", "a", "红色的自行车", grade=1, language="zh"),
                query("5", "f", "held out"),
                query("2", "d", "red bicycle", language="en"),
                query("6", "c", "red bicycle", language="en"),
                query("7", "a"),
            ],
        )
    return Dataset(path)


def words(captions, row):
    return [captions.texts[number] for number in captions.captions_of(row)]


def test_each_item_has_the_queries_that_it_answers(data):
    captions = Captions.of(data, np.arange(6, dtype=np.int32))
    assert words(captions, 0) == ["red bicycle", "红色的自行车", "text of 7"]
    assert [captions.languages[number] for number in captions.captions_of(0)] == ["en", "zh", None]
    assert [words(captions, row) for row in range(1, 6)] == [
        [],
        ["red bicycle"],
        ["text of 1", "red bicycle"],
        [],
        ["held out"],
    ]
    assert len(captions) == 6  # query 2 answers two items and is one caption; query 6 is another of the same words
    assert captions.captions_of(0)[0] == captions.captions_of(3)[1] != captions.captions_of(2)[0]


def test_nothing_of_other_items_is_read(data):
    captions = Captions.of(data, np.int32([3, 2, 3, NO_ROW]))
    assert captions.texts == ["text of 1", "red bicycle", "red bicycle"]
    assert [words(captions, row) for row in (0, 5)] == [[], []]
    assert words(captions, 3) == ["text of 1", "red bicycle"]
    assert len(Captions.of(data, np.int32([]))) == 0


def test_captions_of_other_languages_are_left_out(data):
    captions = Captions.of(data, data.ids.rows("abcd"), languages=["en"])
    assert words(captions, data.ids.row("a")) == ["red bicycle"]
    assert words(captions, data.ids.row("d")) == ["text of 1", "red bicycle"]
    assert set(captions.languages) == {"en"}


def test_draws_are_of_the_item_equally_likely_and_repeatable(data):
    captions = Captions.of(data, np.arange(6, dtype=np.int32))
    rows = np.tile(np.int32([0, 1, 3, NO_ROW, 2, 4, 5]), 3000)
    drawn = captions.draw(rows, np.random.default_rng(0))
    for row in (0, 2, 3, 5):
        numbers, counts = np.unique(drawn[rows == row], return_counts=True)
        assert numbers.tolist() == sorted(captions.captions_of(row))
        assert np.abs(counts / 3000 - 1 / len(numbers)).max() < 0.03  # three standard deviations and more
    assert set(drawn[np.isin(rows, [1, 4, NO_ROW])]) == {NO_CAPTION}
    np.testing.assert_array_equal(captions.draw(rows, np.random.default_rng(0)), drawn)
    assert (captions.draw(rows, np.random.default_rng(1)) != drawn).any()
    assert captions.draw(np.int32([]), np.random.default_rng(0)).shape == (0,)


def test_an_item_without_captions_does_not_shift_the_draws_of_others(data):
    captions = Captions.of(data, np.arange(6, dtype=np.int32))
    with_caption = captions.draw(np.int32([2, 0, 0, 3]), np.random.default_rng(5))
    without = captions.draw(np.int32([1, 0, 0, 3]), np.random.default_rng(5))
    np.testing.assert_array_equal(with_caption[1:], without[1:])


def test_a_data_set_without_queries_has_no_captions(tmp_path):
    with DatasetWriter(tmp_path) as writer:
        writer.write("items", [{schemas.ITEM_ID: "a", schemas.TITLE: "t"}])
    captions = Captions.of(Dataset(tmp_path), np.int32([0]))
    assert captions.draw(np.int32([0, 0]), np.random.default_rng(0)).tolist() == [NO_CAPTION, NO_CAPTION]
