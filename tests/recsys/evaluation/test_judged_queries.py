from __future__ import annotations

from pathlib import Path

import pytest

from recsys.data.dataset import Dataset, DatasetWriter
from recsys.evaluation.judged_queries import JudgedQueries


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    judged = [("q1", "海边", "b", 3), ("q2", "tea", "a", 1), ("q1", "海边", "a", 1), ("q3", "none", "a", 0)]
    with DatasetWriter(tmp_path) as writer:
        writer.write("items", [{"item_id": item} for item in "abc"])
        names = ("query_id", "query", "item_id", "grade")
        writer.write("queries", [dict(zip(names, row, strict=True)) for row in judged])
    return Dataset(tmp_path)


def test_texts_and_grades_by_query_without_those_to_which_nothing_is_relevant(data: Dataset) -> None:
    queries = JudgedQueries.of(data, 10)
    assert queries.texts == ["海边", "tea"]
    assert queries.judgements.offsets.tolist() == [0, 2, 3]
    assert queries.judgements.items.tolist() == [1, 0, 0]
    assert queries.judgements.grades.tolist() == [3, 1, 1]


def test_of_too_many_some_are_drawn_the_same_each_time(data: Dataset) -> None:
    one = JudgedQueries.of(data, 1)
    assert len(one) == 1
    assert one.texts == JudgedQueries.of(data, 1).texts


def test_a_data_set_without_queries_has_none(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path) as writer:
        writer.write("items", [{"item_id": "a"}])
    queries = JudgedQueries.of(Dataset(tmp_path), 10)
    assert (len(queries), len(queries.judgements)) == (0, 0)
