from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys.artifacts import ArtifactStore
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.embeddings.encode import open_tables
from recsys.features.requests import RankingRequests
from recsys.ranking.retrieved import RetrievalConfig
from recsys.retrieval.fusion import reciprocal_rank_fusion
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
