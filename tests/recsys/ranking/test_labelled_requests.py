"""Labelled requests from both worlds, and the training set made of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from recsys import schemas
from recsys.data.interactions import Interactions
from recsys.exceptions import DataError
from recsys.features.assembler import FeatureAssembler
from recsys.features.sources import SourceFeatures
from recsys.ranking.impressions import from_impressions, latest
from recsys.ranking.retrieved import RetrievalConfig, from_retrieved, last_of_each_user
from recsys.ranking.training_set import PAD, training_set
from recsys.retrieval.item_to_item import ItemToItemConfig, ItemToItemSource
from recsys.retrieval.popularity import PopularityConfig, PopularitySource
from recsys.types import NO_ROW, IdMap

START = datetime(2024, 1, 1, tzinfo=UTC)


def log(rows: list[tuple[str, str, str, int | None, str, int]]) -> pl.DataFrame:
    names = [schemas.REQUEST_ID, schemas.USER_ID, schemas.ITEM_ID, schemas.POSITION, schemas.EVENT_TYPE]
    frame = pl.DataFrame([row[:5] for row in rows], schema=names, orient="row")
    moments = pl.Series(
        schemas.TIMESTAMP, [START + timedelta(seconds=row[5]) for row in rows], pl.Datetime("ms", "UTC")
    )
    return frame.with_columns(moments, pl.lit("feed").alias(schemas.SCENE), pl.lit(None, pl.Int64).alias(schemas.ORDER))


EVENTS = log(
    [
        ("q2", "u", "c", 1, "impression", 100),
        ("q2", "u", "a", 0, "impression", 100),
        ("q2", "u", "gone", 2, "impression", 100),
        ("q2", "u", "c", 1, "click", 103),
        ("q2", "u", "c", 1, "follow", 105),
        ("q1", "u", "b", 0, "impression", 10),
        ("q1", "u", "a", 1, "impression", 10),
        ("q1", "u", "d", 2, "impression", 10),
        ("q1", "u", "d", 2, "click", 12),
        ("q1", "u", "a", 1, "click", 11),
        ("q1", "u", "a", 1, "like", 13),
        ("q3", "v", "a", 0, "impression", 50),
        ("q3", "v", "b", 1, "impression", 50),
    ]
)


def test_impressions_become_graded_requests_in_time_order() -> None:
    items = IdMap.of("abcd")
    labelled = from_impressions(EVENTS, Interactions.of(EVENTS, items))
    requests = labelled.requests
    assert requests.rows.tolist() == [[1, 0, 3], [0, 2, NO_ROW]]
    assert labelled.labels.tolist() == [[0, 2, 1], [0, 4, PAD]]
    assert labelled.positions is not None
    assert labelled.positions.tolist() == [[0, 1, 2], [0, 1, PAD]]
    assert [requests.histories[0].tolist(), requests.histories[1].tolist()] == [[], [0, 3]]
    assert requests.times is not None
    assert np.diff(requests.times).tolist() == [90_000]
    assert labelled.negatives == "impressions"
    assert labelled.dropped == {
        "impressions of unknown items (candidates)": 1,
        "requests without a difference in outcome": 1,
    }
    assert latest(labelled, 0.5).tolist() == [False, True]


def test_impressions_of_another_scene_are_not_there() -> None:
    with pytest.raises(DataError, match="'search'"):
        from_impressions(EVENTS, Interactions.of(EVENTS, IdMap.of("abcd")), scene="search")


def sequences(lists: list[list[int]], n_items: int) -> Interactions:
    lengths = [len(items) for items in lists]
    return Interactions(
        IdMap.of(f"i{row}" for row in range(n_items)),
        IdMap.of(f"u{row}" for row in range(len(lists))),
        np.repeat(np.arange(len(lists)), lengths).astype(np.int32),
        np.concatenate([np.array(items, np.int32) for items in lists]),
        np.concatenate([np.arange(length) for length in lengths]).astype(np.int64),
        np.ones(sum(lengths), np.float32),
    )


def split_last(lists: list[list[int]], n_items: int) -> tuple[Interactions, Interactions, Interactions]:
    """What to fit on, the last engagement of each user, and all."""
    everything = sequences(lists, n_items)
    last = last_of_each_user(everything.users)
    return everything.where(~last), everything.where(last), everything


def test_retrieved_requests_know_their_target_and_count_the_lost() -> None:
    fit, label, everything = split_last([[0, 1, 2], [0, 1, 4], [1, 2, 3], [3, 0, 1]], 6)
    source = ItemToItemSource(fit, ItemToItemConfig(from_norm=0, to_norm=0))
    labelled = from_retrieved(label, everything, [source], RetrievalConfig(per_source=5, candidates=5))
    # fit: 0,1 | 0,1 | 1,2 | 3,0: after (0, 1) 2 is offered and 4 is lost; after (1, 2) nothing is offered
    assert labelled.requests.users.tolist() == [0, 3]
    assert labelled.dropped == {"requests whose item was not retrieved": 2}
    assert labelled.requests.rows[:, 0].tolist() == [2, 1]
    assert labelled.labels[:, 0].tolist() == [1, 1]
    assert (labelled.labels == PAD).tolist() == (labelled.requests.rows == NO_ROW).tolist()
    assert [labelled.requests.histories[row].tolist() for row in range(2)] == [[0, 1], [3, 0]]


def test_features_are_those_of_all_candidates_and_negatives_are_thinned() -> None:
    generator = np.random.default_rng(0)
    fit, label, everything = split_last([generator.permutation(40)[:12].tolist() for _ in range(60)], 40)
    sources = [PopularitySource(fit, PopularityConfig())]
    assembler = FeatureAssembler([SourceFeatures(sources, standings=True)])
    labelled = from_retrieved(label, everything, sources, RetrievalConfig(per_source=40, candidates=40))
    whole = training_set(labelled, assembler)
    some = training_set(labelled, assembler, negatives_per_request=4, seed=1)
    assert labelled.dropped == {"requests whose item was not retrieved": 0}
    assert whole.groups.tolist() == [29] * 60  # 40 items less the 11 of the history
    assert some.groups.tolist() == [5] * 60
    assert some.labels.reshape(60, 5).sum(axis=1).tolist() == [1] * 60
    rank = whole.names.index("rank:popularity")
    of_targets = whole.features[whole.labels == 1, rank]
    np.testing.assert_array_equal(some.features[some.labels == 1, rank], of_targets)
    again = training_set(labelled, assembler, negatives_per_request=4, seed=1)
    np.testing.assert_array_equal(again.features, some.features)
    other = training_set(labelled, assembler, negatives_per_request=4, seed=2)
    assert (other.features != some.features).any()


def test_requests_are_learned_again_with_some_candidates_as_new() -> None:
    generator = np.random.default_rng(0)
    fit, label, everything = split_last([generator.permutation(40)[:12].tolist() for _ in range(60)], 40)
    sources = [PopularitySource(fit, PopularityConfig())]
    assembler = FeatureAssembler([SourceFeatures(sources, standings=False)])
    labelled = from_retrieved(label, everything, sources, RetrievalConfig(per_source=40, candidates=40))
    once, twice = training_set(labelled, assembler), training_set(labelled, assembler, as_new_share=0.25)
    assert twice.groups.tolist() == [29] * 120
    first, second = np.split(twice.features[:, 0], 2)
    np.testing.assert_array_equal(first, once.features[:, 0])
    np.testing.assert_array_equal(twice.labels, np.tile(once.labels, 2))
    unmet = second == 0
    np.testing.assert_array_equal(second[~unmet], first[~unmet])
    assert (first > 0).all()
    assert 0.2 < unmet.mean() < 0.3


def test_nothing_left_to_learn_from_says_why() -> None:
    fit, label, everything = split_last([[0, 1, 2], [3, 4, 5]], 6)
    source = ItemToItemSource(fit, ItemToItemConfig())
    labelled = from_retrieved(label, everything, [source], RetrievalConfig())
    with pytest.raises(DataError, match="not retrieved': 2"):
        training_set(labelled, FeatureAssembler([SourceFeatures([source], standings=False)]))


def test_last_of_each_user() -> None:
    assert last_of_each_user(np.array([0, 0, 3, 5, 5, 5])).tolist() == [False, True, True, False, False, True]
