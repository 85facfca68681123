from __future__ import annotations

import numpy as np
import pytest

from recsys.evaluation.judgements import Judgements
from recsys.evaluation.retrieval import SourceResult, evaluate_retrieval
from recsys.evaluation.slices import ItemSlice
from recsys.exceptions import DataError
from recsys.types import NO_ROW, Candidates

METRICS = ("recall@2", "hr@2")


def candidates(name: str, *rows: list[int]) -> Candidates:
    array = np.array(rows, dtype=np.int32)
    return Candidates(array, np.where(array == NO_ROW, -np.inf, 1).astype(np.float32), name)


@pytest.fixture(scope="module")
def results() -> dict[tuple[str, str], SourceResult]:
    """Six items, items 4 and 5 cold; three users, of whom the last has nothing to find."""
    sources = {
        "popular": candidates("popular", [0, 1], [0, 1], [0, 1]),
        "content": candidates("content", [4, 0], [5, NO_ROW], [3, 2]),
    }
    cold = ItemSlice("cold", "no engagement before the test", np.array([False] * 4 + [True] * 2))
    judgements = Judgements.of([[0, 4], [1], []])
    vectors = np.eye(6, dtype=np.float32)
    rows = evaluate_retrieval(sources, judgements, 6, slices=[cold], metrics=METRICS, vectors=vectors)
    return {(row.slice, row.source): row for row in rows}


def test_figures_over_the_whole_catalogue(results: dict[tuple[str, str], SourceResult]) -> None:
    values = {key: {name: estimate.value for name, estimate in row.metrics.items()} for key, row in results.items()}
    assert values["all", "popular"] == {"recall@2": (1 / 2 + 1) / 2, "hr@2": 1}
    assert values["all", "content"] == {"recall@2": (1 + 0) / 2, "hr@2": 0.5}
    assert (results["all", "popular"].n, results["all", "popular"].excluded) == (2, 1)


def test_a_slice_asks_for_its_own_items_and_counts_who_is_left(results: dict[tuple[str, str], SourceResult]) -> None:
    assert results["cold", "popular"].metrics["recall@2"].value == 0
    assert results["cold", "content"].metrics["recall@2"].value == 1
    assert (results["cold", "content"].n, results["cold", "content"].excluded) == (1, 2)


def test_beyond_accuracy_is_told_of_the_whole_catalogue_only(results: dict[tuple[str, str], SourceResult]) -> None:
    assert results["all", "popular"].coverage == pytest.approx(2 / 6)
    assert results["all", "content"].coverage == pytest.approx(5 / 6)
    assert results["all", "popular"].diversity == pytest.approx(1)
    assert (results["cold", "popular"].coverage, results["cold", "popular"].diversity) == (None, None)


def test_a_slice_that_nobody_asks_for_has_no_figures() -> None:
    nothing = ItemSlice("no picture", "items without a picture", np.array([False, False, True]))
    rows = evaluate_retrieval(
        {"a": candidates("a", [0, 1])}, Judgements.of([[0]]), 3, slices=[nothing], metrics=METRICS
    )
    assert (rows[1].slice, rows[1].n, rows[1].metrics) == ("no picture", 0, {})


def test_a_source_that_is_too_shallow_is_refused_unless_the_catalogue_is() -> None:
    shallow = {"a": candidates("a", [0])}
    with pytest.raises(DataError, match="'a' has 1 candidates, 2 are measured"):
        evaluate_retrieval(shallow, Judgements.of([[0]]), 3, metrics=METRICS)
    rows = evaluate_retrieval(shallow, Judgements.of([[0]]), 1, metrics=METRICS)
    assert rows[0].metrics["recall@2"].value == 1
