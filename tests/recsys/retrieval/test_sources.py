"""One contract for every candidate source, and the known answers of each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
import torch

from recsys import schemas
from recsys.data.interactions import Interactions
from recsys.data.pairs import transitions
from recsys.embeddings.table import EmbeddingTable
from recsys.exceptions import ArtifactError
from recsys.index.exact import ExactIndex
from recsys.retrieval.base import CandidateSource, Neighbour
from recsys.retrieval.dense import DenseConfig, DenseSource
from recsys.retrieval.ease import EaseConfig, EaseSource
from recsys.retrieval.fresh import FreshConfig, FreshSource
from recsys.retrieval.item_to_item import ItemToItemConfig, ItemToItemSource, cosine
from recsys.retrieval.linear import LinearSource
from recsys.retrieval.matrix import CELLS_PER_BLOCK, user_blocks
from recsys.retrieval.next_item import NextItemConfig, NextItemSource
from recsys.retrieval.popularity import MILLISECONDS_PER_DAY, PopularityConfig, PopularitySource
from recsys.retrieval.random import RandomSource
from recsys.retrieval.segment_popularity import SegmentPopularityConfig, SegmentPopularitySource
from recsys.retrieval.user_tower import UserTowerSource
from recsys.towers.user import UserTower, UserTowerConfig
from recsys.types import NO_ROW, Histories, IdMap

N_ITEMS = 30


def interactions_of(sequences: list[list[int]], n_items: int, times: list[int] | None = None) -> Interactions:
    users = np.repeat(np.arange(len(sequences)), [len(items) for items in sequences]).astype(np.int32)
    items = np.concatenate([np.asarray(items, np.int32) for items in sequences])
    moments = np.concatenate([np.arange(len(items)) for items in sequences]) if times is None else np.asarray(times)
    return Interactions(
        IdMap.of(f"i{row}" for row in range(n_items)),
        IdMap.of(f"u{row}" for row in range(len(sequences))),
        users,
        items,
        moments.astype(np.int64),
        np.ones(len(items), np.float32),
    )


def random_interactions(seed: int = 1, n_users: int = 80) -> Interactions:
    generator = np.random.default_rng(seed)
    likely = 1 / np.arange(1, N_ITEMS + 1)
    likely[-1] = 0  # the last item is never engaged with
    lengths = generator.integers(3, 16, n_users)
    return interactions_of(
        [generator.choice(N_ITEMS, length, replace=False, p=likely / likely.sum()).tolist() for length in lengths],
        N_ITEMS,
    )


def random_table(seed: int = 2) -> EmbeddingTable:
    vectors = np.random.default_rng(seed).standard_normal((N_ITEMS, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[4] = 0
    return EmbeddingTable(IdMap.of(f"i{row}" for row in range(N_ITEMS)), vectors.astype(np.float32), "tower")


def dense(table: EmbeddingTable) -> DenseSource:
    return DenseSource(table, ExactIndex(table), DenseConfig(last=5, decay=0.8))


def user_tower(interests: int) -> UserTowerSource:
    torch.manual_seed(0)
    table = random_table()
    config = UserTowerConfig(width=8, last=4, layers=1, interests=interests)
    tower = UserTower(table.width, table.ids.of_rows(slice(20)), config, table.fingerprint)
    items = EmbeddingTable(table.ids, tower.item_vectors(table), "user tower")
    return UserTowerSource(tower, items, ExactIndex(items))


def catalogue() -> pl.DataFrame:
    """An item a day, in three categories and none."""
    created = [datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=row) for row in range(N_ITEMS)]
    categories = [("food", "travel", "style", None)[row % 4] for row in range(N_ITEMS)]
    return pl.DataFrame({schemas.CREATED_AT: created, schemas.CATEGORY: categories}).with_columns(
        pl.col(schemas.CREATED_AT).cast(pl.Datetime("ms", "UTC"))
    )


def no_events() -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(schemas.EVENTS.empty_table()))


KINDS: dict[str, Callable[[Interactions], CandidateSource]] = {
    "dense": lambda _: dense(random_table()),
    "cosine": lambda data: ItemToItemSource(data, ItemToItemConfig(similarity="cosine")),
    "transition": lambda data: ItemToItemSource(data, ItemToItemConfig(similarity="transition")),
    "next item": lambda data: NextItemSource(data, NextItemConfig(ridge=1)),
    "ease": lambda data: EaseSource(data, EaseConfig(ridge=1)),
    "user tower": lambda _: user_tower(1),
    "user tower, three interests": lambda _: user_tower(3),
    "popularity": lambda data: PopularitySource(data, PopularityConfig()),
    "popularity by category": lambda data: SegmentPopularitySource(
        data, catalogue(), SegmentPopularityConfig(min_engagements=60), "by category"
    ),
    "fresh": lambda data: FreshSource(no_events(), data, catalogue(), dense(random_table()), FreshConfig()),
    "random": lambda _: RandomSource(N_ITEMS, seed=3),
}
every_kind = pytest.mark.parametrize("build", KINDS.values(), ids=KINDS.keys())


def some_histories() -> Histories:
    return Histories.of([[3, 1, 2], [], [0], list(range(25)), [4]])


@every_kind
def test_nothing_seen_nothing_twice_best_first(build: Callable[[Interactions], CandidateSource]) -> None:
    histories = some_histories()
    found = build(random_interactions()).retrieve(histories, 12)
    assert found.rows.shape == (5, 12)
    for user in range(5):
        rows, scores = found.rows[user], found.scores[user]
        there = rows != NO_ROW
        assert not set(rows[there].tolist()) & set(histories[user].tolist())
        assert len(set(rows[there].tolist())) == there.sum()
        assert (np.diff(scores[there]) <= 0).all()
        assert np.isneginf(scores[~there]).all()
        assert (np.flatnonzero(~there) >= there.sum()).all()  # padding stands at the end


@every_kind
def test_score_agrees_with_retrieve(build: Callable[[Interactions], CandidateSource]) -> None:
    source, histories = build(random_interactions()), some_histories()
    found = source.retrieve(histories, N_ITEMS)
    again = source.score(histories, found.rows)
    there = found.rows != NO_ROW
    np.testing.assert_allclose(again[there], found.scores[there], rtol=1e-5, atol=1e-6)
    assert (again[~there] == 0).all()


@every_kind
def test_retrieves_exactly_the_best_of_its_own_scores(build: Callable[[Interactions], CandidateSource]) -> None:
    source, histories = build(random_interactions()), some_histories()
    everything = np.tile(np.arange(N_ITEMS, dtype=np.int32), (5, 1))
    scores = source.score(histories, everything).astype(np.float64)
    scores[scores == 0] = -np.inf
    for user in range(5):
        scores[user, histories[user]] = -np.inf
    best = -np.sort(-scores, axis=1)[:, :7]
    np.testing.assert_allclose(source.retrieve(histories, 7).scores, best, rtol=1e-5, atol=1e-6)


@every_kind
def test_a_user_gets_the_same_alone_and_among_others(build: Callable[[Interactions], CandidateSource]) -> None:
    source, histories = build(random_interactions()), some_histories()
    together = source.retrieve(histories, 10)
    for user in range(5):
        alone = source.retrieve(histories.slice(user, user + 1), 10)
        np.testing.assert_array_equal(alone.rows[0], together.rows[user])
        np.testing.assert_allclose(alone.scores[0], together.scores[user], rtol=1e-5)


@every_kind
def test_evidence_is_of_what_the_user_did_and_adds_up_to_the_score(
    build: Callable[[Interactions], CandidateSource],
) -> None:
    source, histories = build(random_interactions()), some_histories()
    everything = np.arange(N_ITEMS, dtype=np.int32)[None]
    sums = 0
    for user in range(5):
        history = histories.slice(user, user + 1)
        scores = source.score(history, everything)[0]
        newest_first = history[0][::-1].tolist()
        for row in range(N_ITEMS):
            found = source.evidence(history, row)
            assert all(newest_first[neighbour.age] == neighbour.row for neighbour in found)
            strength = [
                neighbour.similarity if neighbour.contribution is None else neighbour.contribution
                for neighbour in found
            ]
            assert strength == sorted(strength, reverse=True)
            parts = [neighbour.contribution for neighbour in found if neighbour.contribution is not None]
            if parts:
                sums += 1
                assert len(parts) == len(found)
                assert sum(parts) == pytest.approx(scores[row], rel=1e-4, abs=1e-6)
    by_sums = ItemToItemSource | LinearSource
    assert (sums > 20) == isinstance(source, by_sums)


def test_evidence_names_the_neighbours_by_hand() -> None:
    data = interactions_of([[0, 2], [1, 3], [1, 3], [1, 2]], 4)
    source = ItemToItemSource(data, ItemToItemConfig(last=2, decay=0.5, from_norm=0, to_norm=0))
    history = Histories.of([[1, 0]])
    assert source.evidence(history, 2) == [Neighbour(0, 0, 1.0, 1.0), Neighbour(1, 1, 1.0, 0.5)]
    assert source.evidence(history, 3) == [Neighbour(1, 1, 2.0, 1.0)]
    assert source.evidence(history, 1) == source.evidence(Histories.of([[]]), 3) == []


def test_evidence_of_vectors_is_the_nearest_recent_item_with_its_cosine() -> None:
    table = EmbeddingTable(IdMap.of("abcd"), np.array([[1, 0], [0, 1], [0.6, 0.8], [0, 0]], np.float32), "tower")
    source = DenseSource(table, ExactIndex(table), DenseConfig(last=2))
    found = source.evidence(Histories.of([[2, 1, 0]]), 2)
    assert [(neighbour.row, neighbour.age, neighbour.contribution) for neighbour in found] == [
        (1, 1, None),
        (0, 0, None),
    ]
    np.testing.assert_allclose([neighbour.similarity for neighbour in found], [0.8, 0.6], rtol=1e-6)
    assert source.evidence(Histories.of([[2, 1, 0]]), 3) == []  # it has no vector


def test_blocks_cover_all_users_once_and_stay_small() -> None:
    blocks = list(user_blocks(1000, CELLS_PER_BLOCK // 300))
    assert [user for block in blocks for user in range(block.start, block.stop)] == list(range(1000))
    assert max(block.stop - block.start for block in blocks) == 300
    assert list(user_blocks(2, 10 * CELLS_PER_BLOCK)) == [slice(0, 1), slice(1, 2)]


def test_cosine_of_two_items_is_known() -> None:
    data = interactions_of([[0, 1], [0, 1], [1, 2], [1]], 4)
    expected = np.zeros((4, 4))
    expected[0, 1] = expected[1, 0] = 2 / np.sqrt(2 * 4)
    expected[1, 2] = expected[2, 1] = 1 / np.sqrt(4 * 1)
    np.testing.assert_allclose(cosine(data).toarray(), expected, rtol=1e-6)


def test_transitions_have_a_direction_and_fade_with_distance() -> None:
    data = interactions_of([[0, 1, 2], [0, 2]], 3)
    expected = np.zeros((3, 3))
    expected[0, 1], expected[1, 2], expected[0, 2] = 1, 1, 0.5 + 1
    np.testing.assert_allclose(transitions(data, window=2, step_decay=0.5).toarray(), expected)
    expected[0, 2] = 1
    np.testing.assert_allclose(transitions(data, window=1, step_decay=0.5).toarray(), expected)


def test_item_to_item_weighs_recent_items_by_hand() -> None:
    data = interactions_of([[0, 2], [1, 3], [1, 3], [1, 2]], 4)
    config = ItemToItemConfig(last=2, decay=0.5, from_norm=0, to_norm=0)
    scores = ItemToItemSource(data, config).score(Histories.of([[1, 0]]), np.array([[2, 3]], np.int32))
    np.testing.assert_allclose(scores, [[1 + 0.5 * 1, 0.5 * 2]])  # newest is 0: 0->2 once; 1->2 once, 1->3 twice


def test_item_to_item_keeps_the_strongest_neighbours() -> None:
    data = interactions_of([[0, 1], [0, 1], [0, 2], [0, 3]], 4)
    source = ItemToItemSource(data, ItemToItemConfig(neighbours=2, from_norm=0, to_norm=0))
    assert source.similarity.toarray()[0].tolist() == [0, 2, 1, 0]


def test_a_sequel_is_found_by_direction_alone() -> None:
    data = interactions_of([[0, 1]] * 5, 2)
    source = ItemToItemSource(data, ItemToItemConfig())
    assert source.retrieve(Histories.of([[0], [1]]), 1).rows.tolist() == [[1], [NO_ROW]]


def test_next_item_equals_ridge_regression_written_out() -> None:
    data = random_interactions(n_users=40)
    config = NextItemConfig(last=4, decay=0.7, ridge=2.0, to_norm=0)
    past, following = [], []
    for items in data.histories():
        for moment in range(len(items) - 1):
            row, target = np.zeros(N_ITEMS), np.zeros(N_ITEMS)
            for age, item in enumerate(items[: moment + 1][::-1][: config.last]):
                row[item] = config.decay**age
            target[items[moment + 1]] = 1
            past.append(row)
            following.append(target)
    S, T = np.stack(past), np.stack(following)
    B = np.linalg.solve(S.T @ S + config.ridge * np.eye(N_ITEMS), S.T @ T)
    source = NextItemSource(data, config)
    np.testing.assert_allclose(source.weights, B[np.ix_(source.known, source.known)], atol=1e-5)


def test_next_item_knows_only_the_most_engaged_items() -> None:
    data = interactions_of([[0, 1, 2], [0, 1], [1, 0]], 4)
    source = NextItemSource(data, NextItemConfig(max_items=2))
    assert source.known.tolist() == [0, 1]
    assert source.score(Histories.of([[2]]), np.array([[0, 1, 2, 3]], np.int32)).tolist() == [[0, 0, 0, 0]]


def test_popularity_halves_with_age() -> None:
    day = MILLISECONDS_PER_DAY
    data = interactions_of([[0, 1], [0]], 3, times=[0, 4 * day, 2 * day])
    rows = np.array([[0, 1, 2]], np.int32)
    plain = PopularitySource(data, PopularityConfig()).score(Histories.of([[]]), rows)
    recent = PopularitySource(data, PopularityConfig(half_life_days=2)).score(Histories.of([[]]), rows)
    assert plain.tolist() == [[2, 1, 0]]
    np.testing.assert_allclose(recent, [[0.25 + 0.5, 1, 0]])


def test_popularity_counts_within_the_window() -> None:
    day = MILLISECONDS_PER_DAY
    data = interactions_of([[0, 1], [0, 2], [2]], 3, times=[0, 10 * day, 7 * day, 9 * day, 2 * day])
    rows = np.array([[0, 1, 2]], np.int32)

    def scores(config: PopularityConfig) -> list[list[float]]:
        return PopularitySource(data, config).score(Histories.of([[]]), rows).tolist()

    assert scores(PopularityConfig(window_days=3)) == [[1, 1, 1]]
    assert scores(PopularityConfig(window_days=8)) == [[1, 1, 2]]
    assert scores(PopularityConfig(window_days=3, half_life_days=1)) == [[0.125, 1, 0.5]]


def test_random_is_uniform_repeatable_and_differs_between_users() -> None:
    histories = Histories.of([[user] for user in range(400)])
    source = RandomSource(1000, seed=1)
    rows = source.retrieve(histories, 10).rows
    np.testing.assert_array_equal(rows, RandomSource(1000, seed=1).retrieve(histories, 10).rows)
    assert (rows != RandomSource(1000, seed=2).retrieve(histories, 10).rows).mean() > 0.95
    assert abs(rows.mean() - 499.5) < 20  # 4000 draws, standard error 4.6
    assert len(np.unique(rows)) > 950  # 4000 draws of 1000 miss e^-4 = 2 % of them


def test_dense_user_is_the_decayed_weighted_mean() -> None:
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    table = EmbeddingTable(IdMap.of("abc"), vectors, "tower")
    source = DenseSource(table, ExactIndex(table), DenseConfig(last=2, decay=0.5))
    histories = Histories(np.array([0, 3]), np.array([2, 0, 1], np.int32), np.array([9, 2, 1], np.float32))
    np.testing.assert_allclose(source.user_vectors(histories), [[[np.sqrt(0.5), np.sqrt(0.5)]]], rtol=1e-6)
    found = source.retrieve(histories, 3)
    assert found.rows.tolist() == [[NO_ROW, NO_ROW, NO_ROW]]  # all three are seen
    np.testing.assert_allclose(source.score(histories, np.array([[2]], np.int32)), [[1.4 * np.sqrt(0.5)]], rtol=1e-6)


def test_dense_refuses_an_index_of_another_table() -> None:
    table = random_table()
    small = EmbeddingTable(IdMap.of("ab"), table.vectors[:2], "tower")
    with pytest.raises(ArtifactError, match="2 vectors, the table 30"):
        DenseSource(table, ExactIndex(small), DenseConfig())


def test_user_tower_finds_what_comparing_with_every_item_finds() -> None:
    source = user_tower(3)
    histories = some_histories()
    users = source.tower.user_vectors(histories, source.items.vectors)
    cosine = np.einsum("nid,md->nim", users, source.items.vectors).max(axis=1)
    found = source.retrieve(histories, 6)
    for user in (0, 2, 3, 4):
        cosine[user, histories[user]] = -np.inf
        best = np.argsort(-cosine[user], kind="stable")[:6]
        there = found.rows[user] != NO_ROW
        assert found.rows[user][there].tolist() == [row for row in best if np.isfinite(cosine[user, row])]
    assert (found.rows[1] == NO_ROW).all()
    shorter = ExactIndex(EmbeddingTable(source.items.ids.of_rows(slice(29)), source.items.vectors[:29], "user tower"))
    with pytest.raises(ArtifactError, match="holds 29 vectors, the table 30"):
        UserTowerSource(source.tower, source.items, shorter)


def test_ease_reconstructs_each_item_from_the_others_as_well_as_ridge_regression_can() -> None:
    """Column j of the weights is the ridge regression of item j on all other items, its own weight held at 0."""
    data = random_interactions()
    source = EaseSource(data, EaseConfig(ridge=3))
    engaged = np.zeros((len(data.users_map), N_ITEMS))
    engaged[data.users, data.items] = 1
    engaged = engaged[:, source.known]
    for item in range(len(source.known)):
        others = np.arange(len(source.known)) != item
        x, y = engaged[:, others], engaged[:, item]
        best = np.linalg.solve(x.T @ x + 3 * np.eye(x.shape[1]), x.T @ y)
        np.testing.assert_allclose(source.weights[others, item], best, atol=1e-5)
        assert source.weights[item, item] == 0


def test_ease_asks_with_what_is_recent() -> None:
    data = random_interactions()
    source = EaseSource(data, EaseConfig(ridge=3, last=2, decay=0.5))
    place = {int(item): number for number, item in enumerate(source.known)}
    scores = source.score_all(Histories.of([[7, 1, 2]]))[0, source.known]
    np.testing.assert_allclose(scores, source.weights[place[2]] + 0.5 * source.weights[place[1]], atol=1e-6)
