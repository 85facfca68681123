"""Ten items on a circle, ten degrees apart; the user stands at item 0. Two users like item 5, one of them item 6."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recsys.data.interactions import Interactions
from recsys.embeddings.table import EmbeddingTable
from recsys.features.assembler import FeatureAssembler
from recsys.index.base import VectorIndex
from recsys.index.exact import ExactIndex
from recsys.ranking.retrieved import RetrievalConfig
from recsys.reranking.diversity import SSDConfig
from recsys.retrieval.dense import DenseConfig, DenseSource
from recsys.retrieval.popularity import PopularityConfig, PopularitySource
from recsys.serving.cascade import Cascade, CascadeConfig, in_order
from recsys.serving.explanation import Evidence, Explanation, Outcome, View, explain
from recsys.types import Histories, IdMap, ItemId

IDS = IdMap.of("abcdefghij")
TITLES = [f"Item {letter}" for letter in "abcdefghij"]
HISTORY = Histories.of([[0]])
NO_VECTOR = 9


def cosine(row: int) -> float:
    return float(np.cos(np.deg2rad(10 * row)))


def table() -> EmbeddingTable:
    angles = np.deg2rad(10 * np.arange(10))
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    vectors[NO_VECTOR] = 0
    return EmbeddingTable(IDS, vectors, "tower")


def cascade(gamma: float = 0.0, index: VectorIndex | None = None, **retrieval: object) -> Cascade:
    users, items = np.array([0, 0, 1], np.int32), np.array([5, 6, 5], np.int32)
    liked = Interactions(IDS, IdMap.of("uv"), users, items, np.zeros(3, np.int64), np.ones(3, np.float32))
    sources = {
        "popularity": PopularitySource(liked, PopularityConfig()),
        "both": DenseSource(table(), index or ExactIndex(table()), DenseConfig(last=1), "both"),
    }
    settings = RetrievalConfig.model_validate({"per_source": 3, "candidates": 4, **retrieval})
    config = CascadeConfig(retrieval=settings, item_to_item={}, next_item={}, diversity=SSDConfig(gamma=gamma))
    return Cascade(sources, sources, FeatureAssembler([]), table(), config)


def explained(built: Cascade, row: int, history: Histories = HISTORY) -> Explanation:
    """On a slate of two, in the order of retrieval."""
    found = built.retrieve(history)
    return explain(built, history, found, found, row, 2, IDS, TITLES)


def test_an_item_that_came_says_who_brought_it_and_from_where() -> None:
    found = explained(cascade(), 2)
    assert (found.item_id, found.title, found.outcome) == ("c", "Item c", Outcome.SHOWN)
    assert (found.fused, found.ranked, found.score, found.final) == (2, None, None, 2)
    assert found.reason == "It is number 2 of 2 on the slate."
    both, popularity = found.views
    near = Evidence(ItemId("a"), "Item a", 0, pytest.approx(cosine(2)), None)
    assert both == View("both", True, pytest.approx(cosine(2)), 2, 3, 2, False, (near,))
    assert popularity == View("popularity", True, 0, None, 3, None, False, ())


def test_every_way_of_not_coming_has_its_reason_and_place() -> None:
    low, merged_out, far = explained(cascade(), 3), explained(cascade(), 6), explained(cascade(), 4)
    assert (low.outcome, low.fused, low.final) == (Outcome.RANKED_LOW, 3, 3)
    assert low.reason == "Fusion puts it at 3, variety at 3; the slate holds 2."
    assert (merged_out.outcome, merged_out.fused, merged_out.final) == (Outcome.NOT_MERGED, 5, None)
    assert merged_out.reason == "Fusion puts it at 5, and only the first 4 go on to be ranked."
    assert (far.outcome, far.fused) == (Outcome.NOT_FOUND, None)
    assert far.reason == "No source proposes it: both comes nearest, with rank 4 where it proposes 3."
    seen = explained(cascade(), 7, Histories.of([[7, 3, 0]]))
    assert (seen.outcome, seen.since) == (Outcome.SEEN, 2)
    assert "2 engagements since" in seen.reason
    assert explained(cascade(), NO_VECTOR).outcome == Outcome.NOT_INDEXED
    stranger = explained(cascade(), 8, Histories.of([[]]))
    assert stranger.reason == "No source proposes it: none has any evidence for it."


def test_an_item_without_a_vector_may_come_by_what_others_did() -> None:
    built = cascade()
    popularity = built.sources["popularity"]
    assert isinstance(popularity, PopularitySource)
    popularity.counts[NO_VECTOR] = 9
    found = explained(built, NO_VECTOR)
    assert (found.outcome, found.fused) == (Outcome.RANKED_LOW, 4)
    assert [(view.source, view.rank, view.place) for view in found.views] == [
        ("popularity", 1, 1),
        ("both", None, None),
    ]


def test_what_variety_moves_off_the_slate_is_told_apart_from_what_was_ranked_low() -> None:
    found = explained(cascade(gamma=50.0), 2)
    assert (found.outcome, found.fused) == (Outcome.TOO_ALIKE, 2)
    assert found.final is not None
    assert found.final > 2
    assert "too much like what stands above it" in found.reason
    assert explained(cascade(gamma=50.0), 5).outcome == Outcome.SHOWN  # popular, and another direction


def test_the_rankers_place_and_score_stand_beside_the_fused_place() -> None:
    built = cascade()
    fused = built.retrieve(HISTORY)
    ranked = in_order(fused.rows, np.array([[0.1, 0.2, 0.4, 0.3]], np.float32), "ranked")
    last = explain(built, HISTORY, fused, ranked, 1, 2, IDS, TITLES)
    assert (last.outcome, last.fused, last.ranked, last.final) == (Outcome.RANKED_LOW, 1, 4, 4)
    assert last.score == pytest.approx(0.1)
    assert last.reason == "The ranker puts it at 4, variety at 4; the slate holds 2."
    first = explain(built, HISTORY, fused, ranked, 3, 2, IDS, TITLES)
    assert (first.outcome, first.fused, first.ranked, first.final) == (Outcome.SHOWN, 3, 1, 1)


def test_what_an_approximate_index_misses_is_not_called_too_far() -> None:
    vectors = table().vectors
    blind = ExactIndex.over(vectors, vectors.any(axis=1) & (np.arange(10) != 1))
    found = explained(cascade(index=blind), 1)
    assert found.outcome == Outcome.NOT_FOUND
    [both] = [view for view in found.views if view.source == "both"]
    assert (both.rank, both.place, both.missed) == (1, None, True)
    assert not any(view.missed for view in explained(cascade(index=blind), 4).views)
    assert not any(view.missed for view in explained(cascade(), 0).views)  # it was left out, since it was seen


def test_places_are_told_of_a_merge_by_quotas_too() -> None:
    built = cascade(quotas={"popularity": 2, "both": 2})
    assert [explained(built, row).fused for row in (5, 1, 6, 2, 3, 4)] == [1, 2, 3, 4, 5, None]
    assert explained(built, 3).outcome == Outcome.NOT_MERGED


def test_a_source_that_is_not_asked_says_what_it_thinks_all_the_same() -> None:
    built = cascade()
    built = replace(built, asked={"both": built.sources["both"]})
    last = explained(built, 5).views[-1]
    assert (last.source, last.asked, last.rank, last.place, last.missed) == ("popularity", False, 1, None, False)
    assert last.score == 2
